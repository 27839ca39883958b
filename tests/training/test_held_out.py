"""The held-out loss: what it is, which weights it keeps, when it stops training, and that it changes nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.models.load import load_model
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.training import trainer
from response_tuning.training.observers.held_out import held_out_loss
from response_tuning.training.parallel.processes import join_processes
from response_tuning.training.parallel.replicated import Replicated
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import add_adapter
from tests.training.conftest import changed, interrupt_after

PLAIN = torch.autocast("cpu", enabled=False)


def alone() -> Replicated:
    return Replicated(join_processes("cpu"))


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """Three epochs of four fp32 steps with dropout, the loss measured on eight other examples."""
    write_examples(tmp_path / "data.jsonl", examples[:16])
    write_examples(tmp_path / "held-out.jsonl", examples[16:24])
    return TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(tmp_path / "data.jsonl"),
        held_out=str(tmp_path / "held-out.jsonl"),
        dtype="float32",
        device="cpu",
        epochs=3,
        batch_size=4,
        lora_rank=4,
        lora_dropout=0.3,
        learning_rate=1e-2,
    )


@pytest.fixture
def worsening(config: TrainingConfig, tmp_path: Path, examples: list[Example]) -> TrainingConfig:
    """A training whose held-out loss falls at first, and then rises: four examples are learned by heart."""
    write_examples(tmp_path / "few.jsonl", examples[:4])
    steps = {"learning_rate": 2e-2, "epochs": 24, "held_out_every": 2, "lora_rank": 16, "lora_dropout": 0.0}
    return changed(config, **steps, data=str(tmp_path / "few.jsonl"), packing="off")


def logged(run: RunDirectory) -> list[dict[str, Any]]:
    return [{**json.loads(line), "seconds": 0} for line in run.training_log.read_text().splitlines()]


def measured(run: RunDirectory) -> dict[int, float]:
    """The held-out loss by step."""
    return {row["step"]: row["held_out_loss"] for row in logged(run) if "held_out_loss" in row}


def adapter(run: RunDirectory) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def loss_of_saved(run: RunDirectory, config: TrainingConfig, examples: list[Example]) -> float:
    """The held-out loss of the model that a run saved."""
    loaded = load_model(str(run.path), dtype="float32", device="cpu")
    conversation = Conversation(loaded.tokenizer, "tulu")
    encoded = [conversation.encode(example, config.method) for example in examples[16:24]]
    return held_out_loss(loaded.model, encoded, tokens_at_once=1024, autocast=PLAIN, strategy=alone())


def test_it_is_the_mean_loss_of_the_models_own_over_all_supervised_tokens(
    model_folder: Path, examples: list[Example]
) -> None:
    loaded = load_model(str(model_folder), dtype="float32", device="cpu")
    conversation = Conversation(loaded.tokenizer, "tulu")
    encoded = [conversation.encode(example, "it") for example in examples[:5]]
    total = 0.0
    for example in encoded:
        input_ids = torch.tensor([example.input_ids])
        labels = input_ids.masked_fill(torch.arange(input_ids.shape[1]) < example.prompt_length, -100)
        with torch.no_grad():
            total += float(loaded.model(input_ids=input_ids, labels=labels).loss) * example.supervised_count
    expected = total / sum(example.supervised_count for example in encoded)
    for tokens in (1, 100_000):
        assert held_out_loss(
            loaded.model, encoded, tokens_at_once=tokens, autocast=PLAIN, strategy=alone()
        ) == pytest.approx(expected)


def test_it_is_measured_without_dropout_and_the_model_trains_on(
    model_folder: Path, config: TrainingConfig, examples: list[Example]
) -> None:
    loaded = load_model(str(model_folder), dtype="float32", device="cpu")
    encoded: list[EncodedExample] = [Conversation(loaded.tokenizer, "tulu").encode(examples[0], "rt")]
    model = add_adapter(loaded.model, config.adapter, fused=True).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    first, second = (
        held_out_loss(model, encoded, tokens_at_once=1024, autocast=PLAIN, strategy=alone()) for _ in range(2)
    )
    assert first == second
    assert model.training


def test_it_is_measured_after_each_epoch(config: TrainingConfig) -> None:
    assert list(measured(train(config))) == [4, 8, 12]


def test_it_is_measured_every_so_many_steps_and_after_the_last(config: TrainingConfig) -> None:
    assert list(measured(train(changed(config, held_out_every=5)))) == [5, 10, 12]


def test_measuring_does_not_change_the_training(config: TrainingConfig, tmp_path: Path) -> None:
    without = train(changed(config, held_out="", output=tmp_path / "without"))
    with_it = train(changed(config, keep="last", held_out_every=1))
    assert_equal(adapter(without), adapter(with_it))
    assert not measured(without)


def test_the_weights_of_the_lowest_loss_are_saved(worsening: TrainingConfig, examples: list[Example]) -> None:
    run = train(worsening)
    losses = measured(run)
    best = min(losses.values())
    assert losses[max(losses)] > best + 0.002
    assert loss_of_saved(run, worsening, examples) == pytest.approx(best, rel=1e-4)
    assert not run.best_weights.exists()


def test_the_last_weights_are_saved_where_that_is_asked_for(worsening: TrainingConfig, examples: list[Example]) -> None:
    run = train(changed(worsening, keep="last"))
    losses = measured(run)
    assert loss_of_saved(run, worsening, examples) == pytest.approx(losses[max(losses)], rel=1e-4)


def test_the_best_of_a_full_tuning_are_saved(worsening: TrainingConfig, examples: list[Example]) -> None:
    run = train(changed(worsening, tuning="full"))
    losses = measured(run)
    assert losses[max(losses)] > min(losses.values()) + 0.1
    assert loss_of_saved(run, worsening, examples) == pytest.approx(min(losses.values()), rel=1e-4)


def test_training_stops_when_patience_is_at_an_end(worsening: TrainingConfig, tmp_path: Path) -> None:
    whole = measured(train(changed(worsening, output=tmp_path / "whole")))
    run = train(changed(worsening, patience=2))
    stopped = measured(run)
    assert stopped == {step: loss for step, loss in whole.items() if step in stopped}
    assert len(stopped) < len(whole)
    values = list(stopped.values())
    best = values.index(min(values))
    assert len(values) == best + 3
    assert len(logged(run)) == max(stopped)


@pytest.mark.parametrize("steps", [1, 4, 5, 7])
def test_a_training_with_patience_that_broke_off_goes_on_to_the_same_bits(
    worsening: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    config = changed(worsening, patience=2, checkpoint_every_seconds=0)
    whole = train(changed(config, output=tmp_path / "whole"))
    assert len(logged(whole)) > steps
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(steps, patched)
        train(config)
    resumed = train(config)
    assert_equal(adapter(whole), adapter(resumed))
    assert logged(whole) == logged(resumed)


def test_one_that_had_stopped_early_but_not_saved_only_saves(
    worsening: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(worsening, patience=2, checkpoint_every_seconds=0)
    whole = train(changed(config, output=tmp_path / "whole"))

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "_save", interrupted)
        train(config)
    interrupt_after(0, monkeypatch)
    resumed = train(config)
    assert_equal(adapter(whole), adapter(resumed))
    assert logged(whole) == logged(resumed)


def test_label_smoothing_changes_the_training_and_not_the_measure(
    config: TrainingConfig, tmp_path: Path, examples: list[Example]
) -> None:
    run = train(changed(config, label_smoothing=0.2))
    assert not all(
        torch.equal(tensor, adapter(run)[name])
        for name, tensor in adapter(train(changed(config, output=tmp_path / "plain"))).items()
    )
    losses = measured(run)
    assert loss_of_saved(run, config, examples) == pytest.approx(min(losses.values()), rel=1e-4)


def test_changed_held_out_examples_are_refused(
    config: TrainingConfig, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "_save", interrupted)
        train(changed(config, checkpoint_every_seconds=0))
    write_examples(Path(config.validation.held_out), examples[17:25])
    with pytest.raises(UserError, match="The data changed"):
        train(changed(config, checkpoint_every_seconds=0))


@pytest.mark.parametrize("option", ["patience", "held_out_every"])
def test_options_without_held_out_examples_are_refused(config: TrainingConfig, option: str) -> None:
    with pytest.raises(UserError, match="need --held-out"):
        changed(config, held_out="", **{option: 2})


def test_held_out_examples_without_prompts_are_refused_for_it(config: TrainingConfig) -> None:
    write_examples(Path(config.validation.held_out), [Example(completion="An answer.")])
    with pytest.raises(UserError, match="1 of 1 rows have no prompt"):
        train(changed(config, method="it"))
    assert not config.output.exists()
