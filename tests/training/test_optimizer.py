"""AdamW: what decays, and that the paged one is the same and resumes from a checkpoint."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from response_tuning.support.errors import UserError
from response_tuning.training import optimizer as optimizer_module
from response_tuning.training.checkpoint import Progress, restore_checkpoint, save_checkpoint
from response_tuning.training.optimizer import make_optimizer, set_learning_rate
from response_tuning.training.parallel.processes import join_processes
from response_tuning.training.parallel.replicated import Replicated
from response_tuning.training.training_config import OptimizationOptions

CPU = torch.device("cpu")


@pytest.fixture
def parameters() -> dict[str, nn.Parameter]:
    """A matrix and a vector."""
    torch.manual_seed(0)
    return {"matrix": nn.Parameter(torch.randn(64, 32)), "vector": nn.Parameter(torch.randn(32))}


def step(optimizer: Optimizer, parameters: dict[str, nn.Parameter], *, seed: int) -> None:
    """One step on random gradients."""
    torch.manual_seed(seed)
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def copied(parameters: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    return {name: nn.Parameter(parameter.detach().clone()) for name, parameter in parameters.items()}


def test_matrices_decay_and_vectors_do_not(parameters: dict[str, nn.Parameter]) -> None:
    config = OptimizationOptions(learning_rate=0.1, weight_decay=0.5)
    before = copied(parameters)
    optimizer = make_optimizer(parameters.values(), config, CPU)
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(parameters["matrix"], 0.95 * before["matrix"])
    assert torch.equal(parameters["vector"], before["vector"])


def test_the_learning_rate_reaches_every_group(parameters: dict[str, nn.Parameter]) -> None:
    optimizer = make_optimizer(parameters.values(), OptimizationOptions(), CPU)
    assert len(optimizer.param_groups) == 2
    set_learning_rate(optimizer.param_groups, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_paged_is_plain_adamw_without_cuda_and_says_so(
    parameters: dict[str, nn.Parameter], capsys: pytest.CaptureFixture[str]
) -> None:
    config = OptimizationOptions(optimizer="paged")
    assert type(make_optimizer(parameters.values(), config, CPU)) is AdamW
    assert "paged on CUDA only; plain AdamW runs on cpu" in " ".join(capsys.readouterr().err.split())


def test_paged_on_cuda_without_bitsandbytes_says_what_to_install(
    parameters: dict[str, nn.Parameter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    config = OptimizationOptions(optimizer="paged")
    with pytest.raises(UserError, match=r"pip install 'response-tuning\[qlora\]'"):
        make_optimizer(parameters.values(), config, torch.device("cuda"))


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_the_paged_optimizer_makes_the_same_steps_and_resumes_from_a_checkpoint(
    parameters: dict[str, nn.Parameter], tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    plain, resumed = copied(parameters), copied(parameters)
    paged_optimizer = optimizer_module._paged([{"params": list(parameters.values()), "weight_decay": 0.0}], 0.01)
    plain_optimizer = AdamW(plain.values(), lr=0.01, weight_decay=0.0)
    for number in range(3):
        step(paged_optimizer, parameters, seed=number)
        step(plain_optimizer, plain, seed=number)
    checkpoint = tmp_path / "last.safetensors"
    alone = Replicated(join_processes("cpu"))
    save_checkpoint(checkpoint, parameters, paged_optimizer, Progress(steps=3), strategy=alone, fingerprint="f")
    later = optimizer_module._paged([{"params": list(resumed.values()), "weight_decay": 0.0}], 0.01)
    assert restore_checkpoint(checkpoint, resumed, later, strategy=alone, fingerprint="f").steps == 3
    for optimizer, trained in ((paged_optimizer, parameters), (plain_optimizer, plain), (later, resumed)):
        step(optimizer, trained, seed=3)
    for name in parameters:
        torch.testing.assert_close(parameters[name], plain[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(parameters[name], resumed[name])
