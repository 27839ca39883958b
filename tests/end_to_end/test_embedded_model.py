"""The real thing, short: the embedded base model, imported, tuned on responses alone, and asked."""

from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig

pytestmark = pytest.mark.slow


def test_the_base_model_runs_on_and_a_response_tuned_one_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that the import is done for real
    options = ["--epochs", "1", "--learning-rate", "1e-3"]
    assert main(["train", "--output", str(tmp_path / "rt"), *options]) == 0

    def stops(model: str) -> float:
        config = ProbeConfig(model=model, output=tmp_path / "probe" / Path(model).name, max_examples=40)
        return probe(config).metrics["stops"].value

    assert stops("embedded") < 0.2
    assert stops(str(tmp_path / "rt")) > 0.6
