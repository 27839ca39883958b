"""What tests of several trainings share: a short one, changes of it, and one that breaks off."""

from pathlib import Path
from typing import Any

import pytest

__all__ = ["changed", "config", "interrupt_after"]

from response_tuning.example import Example, write_examples
from response_tuning.support.configuration import changed
from response_tuning.training import loop
from response_tuning.training.parallel import launch
from response_tuning.training.step import take_step
from response_tuning.training.training_config import TrainingConfig
from tests.quick_process import quick_subprocess


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training processes that start quickly; a test that needs Python's own start puts ``subprocess`` back."""
    monkeypatch.setattr(launch, "subprocess", quick_subprocess())


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """Six fp32 steps of the tiny model. Micro-batches are small, so that one process has more of them than the other;
    the last batch of an epoch holds one example, so that one has none."""
    data, held_out = tmp_path / "data.jsonl", tmp_path / "held_out.jsonl"
    write_examples(data, examples[:11])
    write_examples(held_out, examples[11:14])
    return TrainingConfig(
        output=tmp_path / "alone",
        model=str(model_folder),
        data=str(data),
        held_out=str(held_out),
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=5,
        lora_rank=3,
        learning_rate=1e-3,
        micro_batch_tokens=200,
        # Short enough that every gradient is clipped, by the norm of the whole.
        max_gradient_norm=0.1,
    )


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training break off, as if killed, when so many steps are taken and logged."""
    real_step = take_step
    done: list[int] = []

    def step(*arguments: Any) -> Any:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return real_step(*arguments)

    monkeypatch.setattr(loop, "take_step", step)
