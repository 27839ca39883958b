"""Settings for GPUs, as far as a machine without one can show them."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from response_tuning.models import load as load_module
from response_tuning.support.allocator import set_up_allocator
from response_tuning.training.device_settings import device_settings
from response_tuning.training.observers import saving
from response_tuning.training.observers.saving import Checkpoints
from response_tuning.training.optimizer import make_optimizer, optimizer_state, restore_state
from response_tuning.training.training_config import MemoryOptions, OptimizationOptions

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("fails", [False, True])
def test_settings_hold_for_one_training_on_a_gpu(fails: bool) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    memory = MemoryOptions(tf32=not before, deterministic=True)
    try:
        with device_settings(memory, CUDA):
            assert torch.backends.cuda.matmul.allow_tf32 is not before
            assert torch.are_deterministic_algorithms_enabled()
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert torch.backends.cuda.matmul.allow_tf32 is before
    assert not torch.are_deterministic_algorithms_enabled()
    with device_settings(memory, CPU):
        assert torch.backends.cuda.matmul.allow_tf32 is before


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_the_allocator_that_a_user_chose_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(name, "max_split_size_mb:64")
    set_up_allocator()
    assert [key for key in os.environ if "ALLOC_CONF" in key] == [name]
    monkeypatch.delenv(name)
    set_up_allocator()
    assert os.environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


def test_weights_go_straight_to_a_gpu_and_on_a_cpu_as_before() -> None:
    assert load_module._placed(CUDA) == {"device_map": {"": CUDA}}
    assert load_module._placed(CPU) == {}


def test_a_fused_step_is_the_plain_one_and_resumes() -> None:
    """AdamW's fused kernel exists for the CPU as well; ``auto`` takes it on CUDA alone."""
    weights: list[torch.Tensor] = []
    for choice in ("off", "on"):
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.randn(8, 8))
        options = OptimizationOptions(fused_optimizer=choice, learning_rate=0.1)
        optimizer = make_optimizer([parameter], options, CPU)
        for step in range(4):
            if step == 2:  # as after an interruption
                state = {name: value.clone() for name, value in optimizer_state(optimizer, parameter).items()}
                optimizer = make_optimizer([parameter], options, CPU)
                restore_state(optimizer, parameter, state, lambda whole, _like: whole)
            parameter.grad = torch.ones_like(parameter) * (step + 1)
            optimizer.step()
        assert bool(optimizer.defaults["fused"]) == (choice == "on")
        weights.append(parameter.detach())
    torch.testing.assert_close(weights[0], weights[1])
    assert not make_optimizer([nn.Parameter(torch.zeros(2))], OptimizationOptions(), CUDA).defaults["fused"]


@pytest.mark.parametrize(("asked", "took", "expected"), [(60.0, 0.1, 60.0), (60.0, 12.0, 228.0), (0.0, 12.0, 0.0)])
def test_saving_takes_at_most_a_twentieth_of_the_time(asked: float, took: float, expected: float) -> None:
    training = SimpleNamespace(config=SimpleNamespace(checkpoints=SimpleNamespace(checkpoint_every_seconds=asked)))
    checkpoints = Checkpoints(training, Path("unused"), fingerprint="", interrupted=lambda: False)  # type: ignore[arg-type]
    interval = checkpoints._interval_after(took)
    assert interval == pytest.approx(expected)
    if asked:
        assert took / (took + interval) <= saving._SAVING_FRACTION + 1e-9
