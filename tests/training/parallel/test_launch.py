"""The launcher: what it refuses, what it says when a process fails, and that none is left behind."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from response_tuning.cli.main import main
from response_tuning.cli.options import parse_options
from response_tuning.example import Example, write_examples
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import changed, flatten, write_config
from response_tuning.support.errors import UserError
from response_tuning.training.parallel import launch
from response_tuning.training.parallel.launch import node_commands, processes_wanted
from response_tuning.training.trainer import resolve, train
from response_tuning.training.training_config import TrainingConfig
from tests.quick_process import QuickProcess, children_of
from tests.training.test_checkpoint import assert_equal_runs

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """A long training of the tiny model in two processes."""
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:32])
    return TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(data),
        dtype="float32",
        device="cpu",
        processes=2,
        epochs=100,
        batch_size=4,
        lora_rank=4,
        lora_dropout=0.3,
        checkpoint_every_seconds=0,
    )


def wanted(config: TrainingConfig) -> int:
    return processes_wanted(config.parallel, config.memory.device)


def start(config: TrainingConfig, folder: Path) -> QuickProcess:
    write_config(folder / "config.yaml", config)
    command = [sys.executable, "-m", "response_tuning", "train", "--config", str(folder / "config.yaml")]
    return QuickProcess(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: Callable[[], bool], *, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


def steps_logged(config: TrainingConfig) -> int:
    log = RunDirectory(config.output).training_log
    return log.read_text().count("\n") if log.exists() else 0


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_printed_commands_parse_back_into_the_same_training(tmp_path: Path) -> None:
    options = {"preset": "paper", "gradient_checkpointing": False, "nodes": 2, "gpus": 2, "lora_rank": 8}
    config = TrainingConfig(output=tmp_path / "run", **options)
    typed = shlex.split(node_commands(config)[0].partition(" train ")[2])
    parsed = parse_options(TrainingConfig, "rt train", typed, None)
    assert isinstance(parsed, TrainingConfig)
    assert flatten(parsed) == flatten(changed(config, nodes=1, gpus=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpus": 3}, r"--gpus 3: this machine, or this build of torch, has 2\. Choose fewer"),
        ({"gpus": 2, "device": "cpu"}, "--gpus 2 and --device cpu contradict each other"),
        ({"processes": 2, "device": "cuda"}, "--processes is for the CPU: add --device cpu, or choose --gpus"),
    ],
)
def test_what_a_machine_of_two_gpus_cannot_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=message):
        wanted(TrainingConfig.model_validate({"output": tmp_path, **changes}))


def test_gpus_and_processes_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Leave --processes out"):
        TrainingConfig(output=tmp_path, gpus=2, processes=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
def test_gpus_on_a_machine_without_any_are_refused_before_anything_is_written(config: TrainingConfig) -> None:
    changes = {"processes": 1, "device": "auto", "gpus": 4}
    with pytest.raises(UserError, match=r"--gpus 4: .* has 0\. On the CPU choose --processes"):
        train(changed(config, **changes))
    assert not config.output.exists()


def test_a_process_that_a_launcher_started_starts_none(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert wanted(config) == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert wanted(config) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(UserError, match="A launcher started 8 processes on this machine, and 2 are asked for"):
        wanted(config)


def test_training_refuses_to_start_other_machines(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match="--nodes starts nothing"):
        train(changed(config, nodes=2))


def test_nodes_print_a_command_for_each_machine_that_makes_the_same_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a run"
    # Three epochs are the default, and not what the preset gives.
    asked = ["train", "--preset", "hewitt", "--output", str(output), "--epochs", "3", "--dtype", "float32"]
    assert main([*asked, "--nodes", "3", "--gpus", "8"]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert len(commands) == 3
    assert not output.exists()
    for node, command in enumerate(commands):
        words = shlex.split(command)
        assert words[:7] == ["torchrun", "--nnodes", "3", "--node-rank", str(node), "--nproc-per-node", "8"]
        typed, wanted = words[words.index("train") + 1 :], asked[asked.index("train") + 1 :]
        whole = parse_options(TrainingConfig, "rt train", wanted, None)
        assert isinstance(whole, TrainingConfig)
        assert parse_options(TrainingConfig, "rt train", typed, None) == resolve(whole)


def test_the_printed_options_include_switches(tmp_path: Path) -> None:
    config = TrainingConfig(output=tmp_path, nodes=2, gradient_checkpointing=True)
    assert "--gradient-checkpointing" in node_commands(config)[0].split()


@pytest.mark.slow
def test_a_message_of_a_process_is_said_once_with_its_name(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "subprocess", subprocess)  # with the start of Python
    with pytest.raises(UserError, match=r"^process [01] of 2 \(on .*\): Row 1 .*tokens") as caught:
        train(changed(config, max_length=16))
    assert str(caught.value).count("Row 1") == 1
    assert not config.output.exists()


@pytest.mark.slow
def test_a_disk_that_is_full_is_said_by_the_process_that_writes(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_GRACE_SECONDS", 1.0)
    config.output.mkdir()
    whole = changed(config, epochs=1, processes=1)
    write_config(config.output / "config.yaml", resolve(whole))
    RunDirectory(config.output).training_log.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"^process 0 of 2 cannot read or write the output: no space left on device\.$"):
        train(changed(whole, processes=2))
    assert not RunDirectory(config.output).is_trained


@pytest.mark.slow
def test_a_process_that_is_killed_ends_all_and_is_named_and_training_goes_on_to_the_same_bits(
    config: TrainingConfig, tmp_path: Path
) -> None:
    config = changed(config, epochs=5)
    whole = train(changed(config, output=tmp_path / "whole"))
    launcher = start(config, tmp_path)
    wait_for(lambda: steps_logged(config) >= 10)
    workers = children_of(launcher.pid)
    os.kill(workers[1], signal.SIGKILL)
    printed, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 2
    assert "process 1 of 2 was killed (SIGKILL)" in printed
    assert not any(is_alive(worker) for worker in workers)
    assert_equal_runs(whole, train(config))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_reaches_every_process_and_leaves_a_checkpoint_of_that_step(
    config: TrainingConfig, tmp_path: Path, number: signal.Signals
) -> None:
    config = changed(config, checkpoint_every_seconds=1000)
    launcher = start(config, tmp_path)
    wait_for(lambda: steps_logged(config) >= 5)
    workers = children_of(launcher.pid)
    launcher.send_signal(number)
    printed, _ = launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    assert "Interrupted. Re-run the same command" in printed
    assert not any(is_alive(worker) for worker in workers)
    assert RunDirectory(config.output).checkpoint.exists()


@pytest.mark.slow
def test_no_process_outlives_a_launcher_that_is_killed(config: TrainingConfig, tmp_path: Path) -> None:
    launcher = start(config, tmp_path)
    wait_for(lambda: steps_logged(config) >= 1)
    workers = children_of(launcher.pid)
    assert len(workers) == 2
    launcher.kill()
    launcher.communicate(timeout=60)
    wait_for(lambda: not any(is_alive(worker) for worker in workers), seconds=20)
