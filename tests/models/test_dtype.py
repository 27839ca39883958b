"""What ``--dtype auto`` decides, and that a configuration names it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.models import dtype as dtype_module
from response_tuning.models.dtype import choose_dtype, fastest_dtype, fixed_dtype, warn_of_emulation
from response_tuning.models.processor import has_bf16_instructions
from response_tuning.support.configuration import write_config
from response_tuning.support.errors import UserError
from response_tuning.training.trainer import resolve
from response_tuning.training.training_config import TrainingConfig

Rates = dict[torch.dtype, float]


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rates]:
    """A processor with instructions for bf16, whose GFLOP/s a test can set; nothing is cached yet."""
    rates = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(dtype_module, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(dtype_module, "_rate", lambda dtype, _device: rates[dtype])
    _forget()
    yield rates
    _forget()


def _forget() -> None:
    """As in a new process."""
    choose_dtype.cache_clear()
    warn_of_emulation.cache_clear()


def test_the_faster_dtype_of_a_processor_is_measured_once_per_machine(measured: Rates) -> None:
    assert fastest_dtype("cpu") == "float32"
    measured[torch.bfloat16] = 9.0
    _forget()
    assert fastest_dtype("cpu") == "float32"
    dtype_module._cache_file().unlink()
    _forget()
    assert fastest_dtype("cpu") == "bfloat16"


def test_other_instructions_are_another_machine(measured: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch told to use AVX2 only is slower in bf16 than the same processor is otherwise."""
    measured[torch.bfloat16] = 9.0
    assert fastest_dtype("cpu") == "bfloat16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    measured[torch.bfloat16] = 0.1
    _forget()
    assert fastest_dtype("cpu") == "float32"


@pytest.mark.parametrize("content", ["{", "[]", '"float32"'])
def test_a_damaged_cache_is_measured_again(measured: Rates, content: str) -> None:
    assert measured
    path = dtype_module._cache_file()
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert fastest_dtype("cpu") == "float32"


def test_a_cached_measurement_of_another_form_is_measured_again(measured: Rates) -> None:
    assert measured
    path = dtype_module._cache_file()
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({dtype_module._key(torch.device("cpu")): {"bfloat16": 5.0}}))
    assert fastest_dtype("cpu") == "float32"


def test_a_cache_that_cannot_be_written_is_no_error(measured: Rates, tmp_path: Path) -> None:
    assert measured
    (tmp_path / "cache").write_text("a file where the folder belongs")
    assert fastest_dtype("cpu") == "float32"


def test_the_measurement_of_the_real_machine_takes_seconds_and_says_why() -> None:
    _forget()
    started = time.perf_counter()
    rates = dtype_module.measure_rates(torch.device("cpu"))
    assert time.perf_counter() - started < 10
    assert min(rates.bfloat16, rates.float32) > 0
    if not has_bf16_instructions():
        assert rates.float32 > rates.bfloat16
        assert choose_dtype("cpu").dtype == "float32"
        assert "emulates" in choose_dtype("cpu").reason


@pytest.mark.parametrize(("in_hardware", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_emulates_bf16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, in_hardware: bool, chosen: str
) -> None:
    """torch counts emulation (Volta, Turing) as support unless it is told otherwise."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: in_hardware or including_emulation
    )
    assert dtype_module._choose_on_cuda().dtype == chosen


def test_a_device_without_a_dtype_computes_in_the_other() -> None:
    assert dtype_module._rate(torch.bfloat16, torch.device("meta")) == 0.0


def test_emulated_bf16_that_was_asked_for_is_warned_of_once(
    measured: Rates, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured[torch.bfloat16] = 0.02
    monkeypatch.setattr(dtype_module, "has_bf16_instructions", lambda: False)
    for dtype in ("float32", "bfloat16", "bfloat16"):
        warn_of_emulation(dtype, "cpu")
    assert [record.message for record in caplog.records if "emulates" in record.message] == [
        "note: this processor emulates bfloat16, at 0.0 GFLOP/s where float32 has 2.0. "
        "Leave out --dtype, or choose float32."
    ]


def test_an_unavailable_device_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU")
    with pytest.raises(UserError, match="cuda"):
        fastest_dtype("cuda")


def test_configurations_name_the_dtype_that_they_run_with(measured: Rates, tmp_path: Path) -> None:
    assert measured
    assert ProbeConfig(model="embedded", device="cpu").dtype == "float32"
    assert ProbeConfig(model="embedded", device="cpu", dtype="bfloat16").dtype == "bfloat16"
    assert fixed_dtype("bfloat16", "cpu") == "bfloat16"
    assert resolve(TrainingConfig(output=tmp_path / "run", device="cpu")).memory.dtype == "float32"


def test_a_run_that_was_begun_keeps_its_dtype(measured: Rates, tmp_path: Path) -> None:
    """Otherwise a machine that is faster in another dtype could not resume it."""
    assert measured
    config = TrainingConfig(output=tmp_path / "run", device="cpu")
    write_config(config.output / "config.yaml", resolve(TrainingConfig(output=config.output, dtype="bfloat16")))
    assert resolve(config).memory.dtype == "bfloat16"
