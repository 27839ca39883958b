"""SFTMix from end to end: what a reference run was sure of, trainings that mix by it, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.conftest import interrupt_after

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.runs.folder import RunDirectory
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training import trainer
from response_tuning.training.objectives.sftmix.confidence import halves
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """A finished run on thirteen real pairs that kept two adapters on its way."""
    folder = tmp_path_factory.mktemp("reference")
    write_examples(folder / "data.jsonl", examples[:13])
    config = TrainingConfig(
        output=folder / "run",
        model=str(model_folder),
        data=str(folder / "data.jsonl"),
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=6,
        lora_rank=4,
        learning_rate=1e-2,
        keep_adapter_every=2,
    )
    train(config)
    return config


@pytest.fixture
def config(reference: TrainingConfig, tmp_path: Path) -> TrainingConfig:
    """A training that mixes by what the reference run was sure of."""
    changes = {"output": tmp_path / "mixed", "sftmix_from": str(reference.output), "keep_adapter_every": 0}
    return changed(reference, **changes)


def trained(config: TrainingConfig, **changes: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The weights and the log of a training with some options changed."""
    run = train(changed(config, **changes))
    rows = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    log = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return load_file(next(run.path.glob("*/*model.safetensors"))), log


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance)


def test_confidences_are_the_negated_mean_perplexities_over_the_reference_run(
    config: TrainingConfig, reference: TrainingConfig, examples: list[Example]
) -> None:
    _, log = trained(config)
    rows = [json.loads(line) for line in (config.output / "confidence.jsonl").read_text().splitlines()]
    run = RunDirectory(reference.output)
    assert list(run.kept_checkpoints) == [2, 4]
    expected = []
    for point in (*run.kept_checkpoints.values(), run.path):
        loaded, conversation = load_with_conversation(str(point), "auto", dtype="float32", device="cpu")
        encoded = [conversation.encode(example, "rt") for example in examples[:13]]
        expected.append(torch.tensor(mean_log_likelihoods(Responder(loaded, conversation), encoded)).neg().exp())
    assert [row["row"] for row in rows] == list(range(1, 14))
    perplexities = torch.tensor([row["perplexities"] for row in rows])
    torch.testing.assert_close(perplexities, torch.stack(expected, dim=1), rtol=1e-4, atol=1e-4)
    assert [row["confidence"] for row in rows] == pytest.approx((-perplexities.mean(dim=1)).tolist())
    assert log[-1]["supervised_tokens"] == 2 * sum(example.supervised_count for example in encoded)
    # Of three steps an epoch one has the odd example alone.
    assert [row["mixture_loss"] > 0 for row in log].count(True) == 4
    assert len(log) == 6


def test_mixing_trains_otherwise_and_repeats_itself(config: TrainingConfig, tmp_path: Path) -> None:
    mixed, log = trained(config)
    again, other_log = trained(config, output=tmp_path / "again")
    assert_same(mixed, again)
    assert log == other_log
    unweighted, _ = trained(config, output=tmp_path / "unweighted", sftmix_weight=0.0)
    assert any(not torch.equal(mixed[name], unweighted[name]) for name in mixed)


def test_the_options_of_mixing_do_nothing_without_a_reference_run(config: TrainingConfig, tmp_path: Path) -> None:
    plain, log = trained(config, output=tmp_path / "plain", sftmix_from="")
    other, other_log = trained(config, output=tmp_path / "other", sftmix_from="", sftmix_weight=3.0, sftmix_alpha=2.0)
    assert_same(plain, other)
    assert log == other_log
    assert "mixture_loss" not in log[0]
    assert not (tmp_path / "plain" / "confidence.jsonl").exists()


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_packed_or_padded_mixtures_train_the_same(config: TrainingConfig, tmp_path: Path, tuning: str) -> None:
    padded, log = trained(config, output=tmp_path / "padded", tuning=tuning, packing="off", learning_rate=1e-3)
    packed, packed_log = trained(
        config, output=tmp_path / "packed", tuning=tuning, packing="on", learning_rate=1e-3, micro_batch_tokens=100
    )
    for name in ("loss", "mixture_loss"):
        assert [row[name] for row in log] == pytest.approx([row[name] for row in packed_log], rel=1e-4)
    # AdamW divides by a gradient's size, so where that is next to nothing its rounding shows: by less than a step.
    assert_same(padded, packed, tolerance=2e-4)


def test_an_interrupted_training_ends_with_the_same_bits_without_its_reference(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, log = trained(config, output=tmp_path / "whole")
    config = changed(config, checkpoint_every_seconds=0)
    with monkeypatch.context() as patched:
        interrupt_after(3, patched)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    monkeypatch.setattr("response_tuning.training.objectives.sftmix.confidence.load_with_conversation", None)
    shutil.move(config.sftmix.sftmix_from, tmp_path / "elsewhere")
    resumed, resumed_log = trained(config)
    shutil.move(tmp_path / "elsewhere", config.sftmix.sftmix_from)
    assert_same(whole, resumed)
    assert log == resumed_log


def test_confidences_of_other_data_are_not_taken_up(
    config: TrainingConfig, tmp_path: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many rows, and no checkpoint that would tell."""
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:13])
    config = changed(config, data=str(data))

    def stop(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "run_steps", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert (config.output / "confidence.jsonl").exists()
    write_examples(data, examples[1:14])
    with pytest.raises(UserError, match="was trained on other data"):
        train(config)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_processes_that_share_the_weights_mix_what_one_does(config: TrainingConfig, tmp_path: Path) -> None:
    alone, log = trained(config, learning_rate=1e-3)
    together, other_log = trained(
        config, output=tmp_path / "together", learning_rate=1e-3, processes=2, sharding="zero3"
    )
    assert_same(alone, together, tolerance=2e-4)
    for row, other in zip(log, other_log, strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    written, others = (
        [json.loads(line) for line in (path / "confidence.jsonl").read_text().splitlines()]
        for path in (config.output, tmp_path / "together")
    )
    for row, other in zip(written, others, strict=True):
        assert row["perplexities"] == pytest.approx(other["perplexities"], rel=1e-4)


def test_examples_that_are_dropped_belong_to_neither_half(config: TrainingConfig) -> None:
    lengths = sorted(report_lengths(config))
    _, log = trained(config, max_length=lengths[-3], overlong="drop")
    report = json.loads(RunDirectory(config.output).data_report.read_text())
    assert report["rows_kept"] == 13 - len(report["rows_dropped_overlong"]) < 13
    assert log[-1]["supervised_tokens"] == 2 * report["supervised_tokens"]


def report_lengths(config: TrainingConfig) -> list[int]:
    from response_tuning.data.sources.load_examples import load_examples

    _, conversation = load_with_conversation(config.sftmix.sftmix_from, "auto", dtype="float32", device="cpu")
    return [len(conversation.encode(example, "rt").input_ids) for example in load_examples(config.data)]


def test_halves_keep_the_order_and_the_odd_one_is_unconfident() -> None:
    examples = [EncodedExample([index, 0], 1) for index in range(5)]
    confident, unconfident = halves(examples, [-3.0, -1.0, -2.0, -2.0, -9.0])
    assert [example.input_ids[0] for example in confident] == [1, 2]
    assert [example.input_ids[0] for example in unconfident] == [0, 3, 4]


def test_what_cannot_be_a_reference_is_refused_before_anything_is_written(
    config: TrainingConfig, reference: TrainingConfig, tmp_path: Path, examples: list[Example]
) -> None:
    bare = train(changed(reference, output=tmp_path / "bare", keep_adapter_every=0, epochs=1))
    write_examples(tmp_path / "other.jsonl", examples[1:14])
    for changes, message in (
        ({"sftmix_from": str(tmp_path / "nowhere")}, "nowhere, which is no finished run"),
        ({"method": "it"}, "was trained with --method rt, and --sftmix-from needs it"),
        ({"data": str(tmp_path / "other.jsonl")}, "was trained on other data"),
        ({"sftmix_from": str(bare.path)}, "kept no adapters.*--keep-adapter-every"),
    ):
        with pytest.raises(UserError, match=message):
            train(changed(config, **changes))
        assert not config.output.exists()


def test_an_odd_batch_size_is_refused(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match="trains on pairs, and --batch-size 5 is odd"):
        changed(config, batch_size=5)
