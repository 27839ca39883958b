"""How much of the data a quickstart takes on a slow machine and on a fast one."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.models.dtype import MatmulRates
from response_tuning.study import quickstart_size
from response_tuning.study.quickstart_size import SMALL_EXAMPLES, SMALL_INSTRUCTIONS, fixed_size, training_data
from response_tuning.study.study_config import QuickstartConfig
from response_tuning.support.configuration import write_config


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The GFLOP/s of this machine, which a test can set."""
    rates = {"float32": 136.0}

    def measured(_device: torch.device) -> MatmulRates:
        return MatmulRates(0.2, rates["float32"])

    monkeypatch.setattr(quickstart_size, "pick_device", lambda _device: torch.device("cpu"))
    monkeypatch.setattr(quickstart_size, "measure_rates", measured)
    return rates


def test_a_slow_machine_takes_half_and_says_so(
    rate: dict[str, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = QuickstartConfig(output=tmp_path)
    assert fixed_size(config).size == "small"
    assert "about 24 minutes" in capsys.readouterr().err
    rate["float32"] = 800.0
    assert fixed_size(config).size == "full"


def test_what_was_asked_for_or_begun_stays(rate: dict[str, float], tmp_path: Path) -> None:
    assert fixed_size(QuickstartConfig(output=tmp_path, size="full")).size == "full"
    assert fixed_size(QuickstartConfig(output=tmp_path, model="another/model")).size == "full"
    write_config(tmp_path / "config.yaml", QuickstartConfig(output=tmp_path, size="small"))
    rate["float32"] = 800.0
    assert fixed_size(QuickstartConfig(output=tmp_path)).size == "small"


def test_the_small_form_has_every_kind_of_request_as_often(tmp_path: Path) -> None:
    config = QuickstartConfig(output=tmp_path, size="small")
    rows = load_examples(training_data(config))
    assert rows == load_examples(config.data)[:SMALL_EXAMPLES]
    asked = load_examples(config.held_out)[:SMALL_INSTRUCTIONS]
    for part in (rows, asked):
        counts = Counter((row.model_extra or {}).get("kind") for row in part)
        assert len(counts) == 16
        assert len(set(counts.values())) == 1
    assert training_data(QuickstartConfig(output=tmp_path, size="full")) == config.data
