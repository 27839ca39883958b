"""Continue from an adapter: the same adapter, trained further, with the same or another method."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import load_peft_weights

from response_tuning.cli.main import main
from response_tuning.conversation import Conversation
from response_tuning.example import Example, write_examples
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.adapter import base_of_adapter
from response_tuning.runs.load import load_responder
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines
from response_tuning.training.trainer import resolve, train
from response_tuning.training.training_config import TrainingConfig

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """A short training in a format and with a prefix that are no defaults, and its data beside it."""
    folder = tmp_path_factory.mktemp("continuing")
    write_examples(folder / "data.jsonl", examples[:8])
    config = TrainingConfig(
        output=folder / "first",
        model=str(model_folder),
        data=str(folder / "data.jsonl"),
        format="alpaca",
        rt_prefix="empty_user",
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=4,
        lora_rank=4,
        lora_alpha=8,
        learning_rate=1e-2,
        keep_adapter_every=2,
    )
    train(config)
    return config


def continued(first: TrainingConfig, output: Path, **options: Any) -> TrainingConfig:
    return TrainingConfig(
        output=output,
        **{
            "from_run": str(first.output),
            "data": first.data,
            "dtype": "float32",
            "device": "cpu",
            "epochs": 1,
            "batch_size": 8,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "warmup_share": 0.0,
            **options,
        },
    )


def weights(run: Path) -> Weights:
    loaded: Weights = load_peft_weights(str(run / "adapter"), device="cpu")
    return loaded


def test_a_training_continues_the_adapter_on_the_same_base(first: TrainingConfig, tmp_path: Path) -> None:
    config = continued(first, tmp_path / "it", method="it", learning_rate=1e-9)
    train(config)
    before, after = weights(first.output), weights(config.output)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert base_of_adapter(config.output / "adapter") == base_of_adapter(first.output / "adapter")
    further = continued(first, tmp_path / "further", method="it")
    train(further)
    assert any(not torch.allclose(before[name], each, atol=1e-4) for name, each in weights(further.output).items())


def test_the_first_loss_is_that_of_the_run_it_continues(first: TrainingConfig, tmp_path: Path) -> None:
    config = continued(first, tmp_path / "again")
    train(config)
    responder = load_responder(str(first.output), "auto", dtype="float32", device="cpu")
    rows = [Example.model_validate(row) for row in read_json_lines(Path(first.data))]
    encoded = [responder.conversation.encode(row, "rt") for row in rows]
    expected = -sum(log_likelihoods(responder, encoded)) / sum(example.supervised_count for example in encoded)
    log = read_json_lines(config.output / "training.jsonl")
    assert log[0]["loss"] == pytest.approx(expected, rel=1e-4)
    assert log[0]["loss"] < read_json_lines(first.output / "training.jsonl")[0]["loss"] - 0.05


def test_base_adapter_format_and_prefix_are_those_of_the_run(first: TrainingConfig, tmp_path: Path) -> None:
    config = resolve(continued(first, tmp_path / "run"))
    assert (config.adapter.tuning, config.adapter.lora_rank, config.adapter.lora_alpha) == ("lora", 4, 8)
    assert (config.encoding.format, config.encoding.rt_prefix) == ("alpaca", "empty_user")
    assert Path(config.model).samefile(first.model)
    assert resolve(config) == config
    other = resolve(continued(first, tmp_path / "run", format="chatml"))
    assert other.encoding.format == "chatml"


def test_a_kept_checkpoint_can_be_continued(first: TrainingConfig, tmp_path: Path) -> None:
    step = first.output / "checkpoints" / "step-2"
    config = continued(first, tmp_path / "run", from_run=str(step), learning_rate=1e-9)
    train(config)
    before: Weights = load_peft_weights(str(step), device="cpu")
    assert all(torch.allclose(before[name], each, atol=1e-6) for name, each in weights(config.output).items())


def test_a_preference_training_has_the_continued_run_as_its_reference(first: TrainingConfig, tmp_path: Path) -> None:
    rows = [Example.model_validate(row) for row in read_json_lines(Path(first.data))]
    pairs = [row.model_copy(update={"rejected": "No."}) for row in rows]
    write_examples(tmp_path / "pairs.jsonl", pairs)
    config = continued(first, tmp_path / "dpo", method="it", preference_loss="dpo", data=str(tmp_path / "pairs.jsonl"))
    train(config)
    log = read_json_lines(config.output / "training.jsonl")
    # Before the first step the model is its own reference: log 2, whatever the pairs are.
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    responder = load_responder(str(first.output), "auto", dtype="float32", device="cpu")
    conversation: Conversation = responder.conversation
    chosen = [conversation.encode(Example(prompt=row.prompt, completion=row.completion), "it") for row in rows]
    saved = read_json(config.output / "reference.json")["log_likelihoods"]
    assert saved[::2] == pytest.approx(log_likelihoods(responder, chosen), rel=1e-4)


def test_options_that_contradict_the_adapter_are_refused(first: TrainingConfig, tmp_path: Path) -> None:
    for options, message in (
        ({"lora_rank": 8}, "--lora-rank is 8, and the adapter of --from-run .* has 4"),
        ({"tuning": "dora"}, "--tuning is dora"),
        ({"model": str(tmp_path)}, "--model is "),
    ):
        with pytest.raises(UserError, match=message):
            train(continued(first, tmp_path / "run", **options))
    with pytest.raises(UserError, match="trains none"):
        continued(first, tmp_path / "run", tuning="full")
    with pytest.raises(UserError, match="no finished run with an adapter"):
        train(continued(first, tmp_path / "run", from_run=first.model))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_trained_again_unless_its_start_changed(first: TrainingConfig, tmp_path: Path) -> None:
    start = tmp_path / "start"
    train(changed(first, output=start, epochs=1))
    config = continued(first, tmp_path / "run", from_run=str(start))
    train(config)
    written = (config.output / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    train(config)
    assert (config.output / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == written
    file = start / "adapter" / "adapter_model.safetensors"
    file.write_bytes((first.output / "adapter" / "adapter_model.safetensors").read_bytes())
    with pytest.raises(UserError, match="what --from-run names changed since"):
        train(config)


def test_the_command_takes_from(first: TrainingConfig, tmp_path: Path) -> None:
    command = ["train", "--from", str(first.output), "--data", first.data, "--output", str(tmp_path / "run")]
    assert main([*command, "--method", "it", "--dtype", "float32", "--device", "cpu", "--epochs", "1"]) == 0
    assert read_json(tmp_path / "run" / "adapter" / "adapter_config.json")["r"] == 4
