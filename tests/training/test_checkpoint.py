"""Resuming: whatever stopped a training, going on ends with the same bits."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from response_tuning.cli.main import main
from response_tuning.example import Example, write_examples
from response_tuning.runs.folder import RunDirectory, check_folder
from response_tuning.support.configuration import changed, write_config
from response_tuning.support.errors import UserError
from response_tuning.training.interruption import held_back_interruption
from response_tuning.training.trainer import train
from response_tuning.training.training_config import CHANGES_NO_RUN, TrainingConfig
from tests.quick_process import QuickProcess
from tests.training.conftest import interrupt_after


def short_training(folder: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """Twelve fp32 steps of the tiny model, with dropout, so that the random state matters; every step is saved."""
    write_examples(folder / "data.jsonl", examples[:16])
    return TrainingConfig(
        output=folder / "run",
        model=str(model_folder),
        data=str(folder / "data.jsonl"),
        dtype="float32",
        device="cpu",
        epochs=3,
        batch_size=4,
        lora_rank=4,
        lora_dropout=0.3,
        learning_rate=1e-2,
        checkpoint_every_seconds=0,
    )


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    return short_training(tmp_path, model_folder, examples)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> RunDirectory:
    """The run of a training that was never interrupted."""
    return train(short_training(tmp_path_factory.mktemp("whole"), model_folder, examples))


def assert_equal_runs(first: RunDirectory, second: RunDirectory) -> None:
    weights, others = (
        load_file(run.model / "model.safetensors" if run.model.exists() else run.adapter / "adapter_model.safetensors")
        for run in (first, second)
    )
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    log, other_log = (
        [{**json.loads(line), "seconds": 0} for line in run.training_log.read_text().splitlines()]
        for run in (first, second)
    )
    assert log == other_log


@pytest.mark.parametrize("steps", [1, 4, 7, 11])
def test_a_training_that_broke_off_goes_on_to_the_same_bits(
    config: TrainingConfig, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(steps, patched)
        train(config)
    run = RunDirectory(config.output)
    assert not run.is_trained
    assert len(run.training_log.read_text().splitlines()) == steps
    assert_equal_runs(whole, train(config))
    assert not run.checkpoint.exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuning", ["full", "dora", "qlora"])
def test_every_way_of_tuning_goes_on_to_the_same_bits(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuning: str, dtype: str
) -> None:
    if tuning == "qlora":
        pytest.importorskip("bitsandbytes")
    config = changed(config, tuning=tuning, dtype=dtype, learning_rate=1e-3)
    whole = train(changed(config, output=tmp_path / "whole"))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(5, patched)
        train(config)
    assert_equal_runs(whole, train(config))


def test_steps_after_the_last_checkpoint_are_done_again_and_logged_once(
    config: TrainingConfig, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(3, patched)
        train(config)
    checkpoint = RunDirectory(config.output).checkpoint
    saved = checkpoint.read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(5, patched)
        train(config)
    checkpoint.write_bytes(saved)  # as if the later ones had not been written
    assert_equal_runs(whole, train(config))


def test_changed_data_are_refused(
    config: TrainingConfig, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(2, patched)
        train(config)
    write_examples(Path(config.data), examples[1:17])
    with pytest.raises(UserError, match="The data changed since the checkpoint"):
        train(config)


def test_a_checkpoint_cut_in_half_is_named(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(2, patched)
        train(config)
    checkpoint = RunDirectory(config.output).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    with pytest.raises(UserError, match=r"last\.safetensors is damaged.*Delete it"):
        train(config)


def test_the_last_checkpoints_are_kept_until_training_is_done(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, keep_checkpoints=3)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(7, patched)
        train(config)
    folder = RunDirectory(config.output).checkpoint.parent
    kept = ["last.safetensors", "step-000000005.safetensors", "step-000000006.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    train(config)
    assert list(folder.iterdir()) == []


def test_an_earlier_checkpoint_takes_the_place_of_a_damaged_one(
    config: TrainingConfig, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(config, keep_checkpoints=2)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(7, patched)
        train(config)
    checkpoint = RunDirectory(config.output).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    capsys.readouterr()
    assert_equal_runs(whole, train(config))
    printed = " ".join(capsys.readouterr().err.split())
    assert "An earlier one, step-000000006.safetensors, is used." in printed
    assert "resuming after step 6" in printed


def test_a_checkpoint_is_kept_where_there_are_no_hard_links(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_the_last_checkpoints_are_kept_until_training_is_done(config, monkeypatch)


def test_a_changed_configuration_is_refused_in_mid_training_and_more_processes_are_not(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(2, patched)
        train(config)
    saved = RunDirectory(config.output).checkpoint.read_bytes()
    with pytest.raises(UserError, match=r"seed: 0 there, 1 now\n  lora_rank: 4 there, 8 now"):
        train(changed(config, lora_rank=8, seed=1))
    assert RunDirectory(config.output).checkpoint.read_bytes() == saved
    check_folder(config.output, changed(config, processes=2, keep_checkpoints=5, format="tulu"), ignore=CHANGES_NO_RUN)


def test_a_disk_that_is_full_is_said_and_training_goes_on_when_there_is_room(
    config: TrainingConfig,
    whole: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(5, patched)
        train(config)
    write_config(tmp_path / "config.yaml", config)
    log = RunDirectory(config.output).training_log
    written = log.read_bytes()
    log.unlink()
    log.symlink_to("/dev/full")
    assert main(["train", "--config", str(tmp_path / "config.yaml")]) == 2
    printed = capsys.readouterr().err
    assert "error: cannot read or write the output: no space left on device." in printed
    assert "Traceback" not in printed
    log.unlink()
    log.write_bytes(written)
    assert not RunDirectory(config.output).is_trained
    assert_equal_runs(whole, train(config))


def test_a_checkpoint_that_finds_no_room_is_named_and_the_one_before_stays_whole(
    config: TrainingConfig, whole: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(5, patched)
        train(config)
    checkpoint = RunDirectory(config.output).checkpoint
    saved = checkpoint.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(saved) // 2, before[1]))  # every write beyond that fails
    try:
        with pytest.raises(UserError, match=r"The checkpoint .*last\.safetensors cannot be written: "):
            train(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.read_bytes() == saved
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
    assert_equal_runs(whole, train(config))


def test_what_a_killed_training_left_half_written_is_removed_and_nothing_else(config: TrainingConfig) -> None:
    config.output.mkdir()
    (config.output / ".config.yaml.abc").touch()  # killed while it claimed the folder
    (config.output / ".adapter.partial-abc").mkdir()
    run = train(config)
    run.adapter.rename(config.output / "elsewhere")  # so that it is to do again
    run.checkpoint.parent.mkdir(exist_ok=True)
    (run.checkpoint.parent / ".tmpabc").touch()
    (config.output / ".gitignore").touch()
    train(config)
    assert [path.name for path in config.output.rglob(".*")] == [".gitignore"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_held_back_and_the_second_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with held_back_interruption() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_a_training_in_another_thread_runs_without_signals(config: TrainingConfig) -> None:
    thread = threading.Thread(target=train, args=(config,))
    thread.start()
    thread.join()
    assert RunDirectory(config.output).is_trained


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_it_ends_with_the_same_bits(
    config: TrainingConfig, tmp_path: Path, examples: list[Example]
) -> None:
    write_examples(Path(config.data), examples[:64])
    config = changed(config, epochs=3)
    whole = train(changed(config, output=tmp_path / "whole"))
    write_config(tmp_path / "config.yaml", config)
    command = [sys.executable, "-m", "response_tuning", "train", "--config", str(tmp_path / "config.yaml")]
    run = RunDirectory(config.output)
    killed = 0
    for signal_number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        process = QuickProcess(command, stderr=subprocess.DEVNULL)
        logged = run.training_log.read_text().count("\n") if run.training_log.exists() else 0
        while process.poll() is None:
            rows = run.training_log.read_text().count("\n") if run.training_log.exists() else 0
            if rows >= logged + 4:
                process.send_signal(signal_number)
                killed += 1
                break
            time.sleep(0.002)
        process.wait()
    assert killed == 4
    assert not run.is_trained
    assert_equal_runs(whole, train(config))
