"""What ``--dtype auto`` decides, and that a configuration names it."""

from pathlib import Path

import pytest
import torch

from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.models import dtype as dtype_module
from response_tuning.models.dtype import fastest_dtype, fixed_dtype
from response_tuning.support.configuration import write_config
from response_tuning.support.errors import UserError
from response_tuning.training.trainer import resolve
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[torch.dtype, float]:
    """A processor with instructions for bf16, whose matmuls per second a test can set; nothing is cached yet."""
    rates = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dtype_module, "_has_bf16_instructions", lambda: True)
    monkeypatch.setattr(dtype_module, "_rate", rates.__getitem__)
    fastest_dtype.cache_clear()
    return rates


def test_the_faster_dtype_of_a_processor_is_measured_once_per_machine(measured: dict[torch.dtype, float]) -> None:
    assert fastest_dtype("cpu") == "float32"
    measured[torch.bfloat16] = 9.0
    fastest_dtype.cache_clear()  # as in a new process
    assert fastest_dtype("cpu") == "float32"
    dtype_module._cache_file().unlink()
    fastest_dtype.cache_clear()
    assert fastest_dtype("cpu") == "bfloat16"


def test_a_damaged_cache_is_measured_again(measured: dict[torch.dtype, float]) -> None:
    assert measured
    path = dtype_module._cache_file()
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert fastest_dtype("cpu") == "float32"


def test_the_measurement_is_of_the_real_machine_and_agrees_with_itself() -> None:
    fastest_dtype.cache_clear()
    chosen = fastest_dtype("cpu")
    assert chosen in ("bfloat16", "float32")
    if not dtype_module._has_bf16_instructions():
        assert chosen == "float32"


def test_an_unavailable_device_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(UserError, match="cuda"):
        fastest_dtype("cuda")


def test_configurations_name_the_dtype_that_they_run_with(measured: dict[torch.dtype, float], tmp_path: Path) -> None:
    assert measured
    assert ProbeConfig(model="embedded", device="cpu").dtype == "float32"
    assert ProbeConfig(model="embedded", device="cpu", dtype="bfloat16").dtype == "bfloat16"
    assert fixed_dtype("bfloat16", "cpu") == "bfloat16"
    assert resolve(TrainingConfig(output=tmp_path / "run", device="cpu")).memory.dtype == "float32"


def test_a_run_that_was_begun_keeps_its_dtype(measured: dict[torch.dtype, float], tmp_path: Path) -> None:
    """Otherwise a machine that is faster in another dtype could not resume it."""
    assert measured
    config = TrainingConfig(output=tmp_path / "run", device="cpu")
    write_config(config.output / "config.yaml", resolve(TrainingConfig(output=config.output, dtype="bfloat16")))
    assert resolve(config).memory.dtype == "bfloat16"
