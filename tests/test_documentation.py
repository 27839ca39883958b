"""The generated reference is complete, and the support matrix names evidence that exists."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.described import described_options
from response_tuning.cli.options import parse_options
from response_tuning.support.configuration import options_of

ROOT = Path(__file__).parent.parent
REFERENCE = SimpleNamespace(**runpy.run_path(str(ROOT / "docs" / "make_reference.py")))

COMMANDS = {
    (f"{group} {name}".strip() if name != group else group): command
    for group in ("", *GROUPS)
    for name, command in commands_of(group).items()
}
SUPPORT = yaml.safe_load((ROOT / "docs" / "support.yaml").read_text(encoding="utf-8"))
ROWS = [row for rows in SUPPORT.values() for row in rows]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_describes_the_options_that_the_help_lists(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    config_type = COMMANDS[name].config_type
    with pytest.raises(SystemExit):
        parse_options(config_type, f"rt {name}", ["--help"], None)
    listed = set(re.findall(r"^\W{2,3}(?:-\w[^-]*, )?(--[a-z][a-z0-9-]*)", capsys.readouterr().out, re.MULTILINE))
    options = described_options(config_type)
    assert {option.name for option in options if not option.is_positional} == listed - {"--help"}
    assert {option.field for option in options} <= options_of(config_type).keys()
    assert not [option.name for option in options if not option.help], "an option without a docstring"


def test_the_page_of_commands_has_every_command_with_its_defaults_and_choices() -> None:
    page = REFERENCE.commands_page()
    assert re.findall(r"^## rt (.*)$", page, re.MULTILINE) == list(COMMANDS)
    assert "| `--tuning` | `lora\\|rslora\\|dora\\|qlora\\|full` | lora |" in page
    assert "| `--output` | `PATH` | required |" in page


def test_the_page_of_file_formats_has_a_schema_of_each() -> None:
    page = REFERENCE.files_page()
    assert page.count("```json") == len(REFERENCE._formats())
    assert '"completion"' in page


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["what"])
def test_the_support_matrix_has_evidence_for_what_it_claims(row: dict[str, str]) -> None:
    assert row["status"] in REFERENCE.STATUSES
    path, _, name = row.get("evidence", "").partition("::")
    assert bool(path) == (row["status"] != "untested")
    if path:
        assert (ROOT / path).exists()
    if name:
        assert re.search(rf"^\s*def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_public_name_is_in_the_api_reference() -> None:
    import response_tuning

    page = REFERENCE.api_page()
    assert re.findall(r"^::: .*\.(\w+)$", page, re.MULTILINE) == sorted(response_tuning.__all__)
