"""A training is resumed with any setting that changes no result, and its seeds are independent."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from response_tuning.cli.main import main
from response_tuning.runs.folder import RunDirectory
from response_tuning.runs.load import load_run
from response_tuning.support.configuration import read_values
from response_tuning.support.errors import UserError
from response_tuning.training import loop
from response_tuning.training.trainer import train
from response_tuning.training.training_config import CHANGES_NO_RUN, TrainingConfig
from tests.training.conftest import changed, interrupt_after


def weights(config: TrainingConfig) -> dict[str, torch.Tensor]:
    return load_file(RunDirectory(config.output).adapter / "adapter_model.safetensors")


def interrupted(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(3, patched)
        train(changed(config, checkpoint_every_seconds=0))


def test_resume_with_other_memory_settings_has_the_same_result(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = changed(config, output=tmp_path / "whole")
    train(whole)
    interrupted(config, monkeypatch)
    others: dict[str, Any] = {
        "micro_batch_tokens": 100,
        "gradient_checkpointing": True,
        "checkpoint_every_seconds": 7,
        "device": "auto",
        "packing": "off",
        "fused_layers": "off",
        "loss_kernel": "tiles",
        "optimizer": "paged",
        "keep_checkpoints": 2,
    }
    assert others.keys() <= CHANGES_NO_RUN
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    train(changed(config, **others))
    rows = [json.loads(line) for line in RunDirectory(config.output).training_log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(config)[name], tensor, atol=1e-5, rtol=1e-4)
    # What is saved is what was done last.
    assert read_values(RunDirectory(config.output).config, TrainingConfig)["micro_batch_tokens"] == 100


def test_the_command_that_resumes_an_unfinished_run_resumes_it_from_anywhere(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = config.output.with_name("an unfinished run")
    interrupted(changed(config, output=run), monkeypatch)
    with pytest.raises(UserError, match="has not finished") as unfinished:
        load_run(run)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(shlex.split(str(unfinished.value).partition("Resume it: ")[2])[1:]) == 0
    assert RunDirectory(run).is_trained


def test_resume_with_another_path_to_the_same_data_and_not_with_other_data(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(config, monkeypatch)
    moved, other = tmp_path / "moved.jsonl", tmp_path / "other.jsonl"
    text = Path(config.data).read_text(encoding="utf-8")
    Path(config.data).rename(moved)
    other.write_text("\n".join(text.splitlines()[1:]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="The data changed since the checkpoint"):
        train(changed(config, data=str(other)))
    train(changed(config, data=str(moved)))
    assert RunDirectory(config.output).is_trained


def orders(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, *, seed: int) -> list[Any]:
    """The batches of each epoch of a training."""
    seen: list[Any] = []
    real = loop._batches

    def batches(training: Any, examples: Any, *, epoch: int) -> Any:
        made = real(training, examples, epoch=epoch)
        seen.append([[example.input_ids for unit in batch for example in unit.examples] for batch in made])
        return made

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_batches", batches)
        train(changed(config, seed=seed, output=config.output.with_name(f"seed-{seed}"), held_out="", batch_size=1))
    return seen[1:]  # the first call counts the steps


def test_seeds_are_independent(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No epoch of a seed has the order of any epoch of another."""
    every = [order for seed in range(3) for order in orders(config, monkeypatch, seed=seed)]
    assert len(every) == 6
    assert len({str(order) for order in every}) == 6


def test_a_checkpoint_of_an_earlier_version_is_resumed_in_its_order(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not name how the seed of an epoch follows; the sum of seed and epoch did it."""
    former = changed(config, output=tmp_path / "former")
    real_resume = loop._resume

    def resume(training: Any, *others: Any) -> Any:
        return real_resume(replace(training, seeding="sum"), *others)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_resume", resume)
        train(former)
        interrupted(config, monkeypatch)
    checkpoint = RunDirectory(config.output).checkpoint
    with safe_open(checkpoint, framework="pt") as file:
        metadata = file.metadata()
    progress = json.loads(metadata["progress"])
    assert progress.pop("seeding") == "sum"
    save_file(load_file(checkpoint), checkpoint, {**metadata, "progress": json.dumps(progress)})
    train(config)
    assert all(torch.equal(tensor, weights(config)[name]) for name, tensor in weights(former).items())
