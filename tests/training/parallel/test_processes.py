"""Several processes: whatever the number, the same steps; and each rule by itself."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from response_tuning.conversation import EncodedExample
from response_tuning.training.batches.batching import Unit, units
from response_tuning.training.parallel.processes import own_part
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.training.conftest import changed


def encoded(lengths: list[int]) -> list[Unit]:
    return units(EncodedExample(list(range(length)), 1) for length in lengths)


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shares_hold_every_example_once_and_differ_by_one_example_at_most(processes: int) -> None:
    batch = encoded([90, 3, 50, 50, 12, 7, 33, 81])
    shares = [own_part(batch, process=process, processes=processes) for process in range(processes)]
    assert sorted(id(example) for part in shares for example in part) == sorted(id(example) for example in batch)
    tokens = [sum(example.tokens for example in part) for part in shares]
    assert max(tokens) - min(tokens) <= 90


def test_with_more_processes_than_examples_some_have_none() -> None:
    shares = [own_part(encoded([4, 9]), process=process, processes=3) for process in range(3)]
    assert [[example.tokens for example in part] for part in shares] == [[9], [4], []]


@pytest.fixture
def config(config: TrainingConfig) -> TrainingConfig:
    """Which of its steps is the best may hang on the last places; the last one does not."""
    return changed(config, keep="last")


def weights_and_log(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    (weights,) = [*run.glob("adapter/*.safetensors"), *run.glob("model/*.safetensors")]
    log = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
    return load_file(weights), [{name: row[name] for name in row if name != "seconds"} for row in log]


def assert_same_training(first: Path, second: Path) -> None:
    (weights, log), (others, other_log) = weights_and_log(first), weights_and_log(second)
    assert weights.keys() == others.keys()
    for name in weights:
        torch.testing.assert_close(weights[name], others[name], rtol=1e-5, atol=1e-5)
    assert len(log) == len(other_log)
    for row, other in zip(log, other_log, strict=True):
        assert row == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("tuning", "processes", "packing"), [("lora", 2, "on"), ("lora", 2, "off"), ("lora", 3, "off"), ("full", 2, "on")]
)
def test_several_processes_train_what_one_does(
    config: TrainingConfig, tmp_path: Path, tuning: str, processes: int, packing: str
) -> None:
    config = changed(config, tuning=tuning, packing=packing, keep_perplexities=True)
    alone = train(config)
    together = train(changed(config, output=tmp_path / "together", processes=processes))
    assert_same_training(alone.path, together.path)
    assert json.loads(together.data_report.read_text()) == json.loads(alone.data_report.read_text())
    perplexities, others = (
        [json.loads(line) for line in (run.path / "perplexities.jsonl").read_text().splitlines()]
        for run in (alone, together)
    )
    for point, other in zip(perplexities, others, strict=True):
        assert point["perplexities"] == pytest.approx(other["perplexities"], rel=1e-4)
    assert not (together.path / "checkpoints").exists() or not any((together.path / "checkpoints").iterdir())


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_dropout_and_noise_differ_between_processes_and_repeat_with_the_seed(
    config: TrainingConfig, tmp_path: Path
) -> None:
    config = changed(config, processes=2, lora_dropout=0.3, neftune_alpha=5.0)
    first, again = (train(changed(config, output=tmp_path / name)) for name in ("first", "again"))
    assert weights_and_log(first.path)[1] == weights_and_log(again.path)[1]
    assert all(
        torch.equal(tensor, weights_and_log(again.path)[0][name])
        for name, tensor in weights_and_log(first.path)[0].items()
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_two_machines_started_with_the_printed_commands_train_what_one_process_does(
    config: TrainingConfig, tmp_path: Path
) -> None:
    from response_tuning.training.parallel.launch import node_commands

    alone = train(config)
    config = changed(config, output=tmp_path / "nodes", nodes=2)
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *arguments_of(command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in node_commands(config)
    ]
    printed = [node.communicate(timeout=150)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert_same_training(alone.path, config.output)


def arguments_of(command: str) -> list[str]:
    """What stands behind ``torchrun``, with this machine's own address for the first node's name."""
    import shlex

    program, *arguments = shlex.split(command)
    assert program == "torchrun"
    arguments[arguments.index("--master-addr") + 1] = "127.0.0.1"
    return arguments
