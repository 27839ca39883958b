"""Charts and optional packages: what is missing is named before any long work."""

from pathlib import Path

import pytest

from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.plots import check_plot, write_figure


@pytest.mark.parametrize("name", ["chart.jpg", "chart"])
def test_a_plot_of_an_unknown_format_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"should end in \.png, \.svg or \.pdf"):
        check_plot(Path(name))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("response_tuning.support.extras.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"--plot needs the package matplotlib: pip install 'response-tuning\[plot\]'"):
        check_plot(Path("chart.PNG"))


def test_an_installed_package_is_accepted() -> None:
    require_extra("pytest", "development", purpose="Testing")


def test_a_figure_is_written_in_the_format_of_its_suffix(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    write_figure(Figure(), tmp_path / "new" / "chart.SVG")
    assert (tmp_path / "new" / "chart.SVG").read_bytes().startswith(b"<?xml")
