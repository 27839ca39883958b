"""DeepSpeed's engine: the same training as in one process, and checkpoints that any other training goes on from."""

import json
import os
import re
import shutil
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.training.parallel import deepspeed_engine
from response_tuning.training.trainer import resolve, train
from response_tuning.training.training_config import TrainingConfig
from tests.training.conftest import changed
from tests.training.parallel.test_launch import start, steps_logged, wait_for, workers_of
from tests.training.parallel.test_processes import assert_same_training
from tests.training.test_checkpoint import assert_equal_runs

pytestmark = pytest.mark.timeout(400)
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed: pip install 'response-tuning[deepspeed]'"
)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "processes", "offload", "tuning"),
    [
        (1, 2, "optimizer", "lora"),
        (2, 2, "none", "full"),
        (2, 3, "optimizer", "qlora"),
        (3, 2, "none", "dora"),
        (3, 3, "weights", "full"),
    ],
)
def test_processes_train_what_one_does(
    config: TrainingConfig,
    tied_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    stage: int,
    processes: int,
    offload: str,
    tuning: str,
) -> None:
    if tuning == "full":
        config = changed(config, tuning=tuning, model=str(tied_folder), learning_rate=1e-4)
    else:
        config = changed(config, tuning=tuning, packing="on", gradient_checkpointing=True, label_smoothing=0.1)
    alone = train(config)
    capfd.readouterr()
    together = changed(config, processes=processes, sharding=f"deepspeed-zero{stage}", offload=offload)
    assert_same_training(alone.path, train(changed(together, output=tmp_path / "together")).path)
    kept, everything = re.findall(r"keeps\s+([\d.,]+)\s+of\s+([\d.,]+)\s+MB", capfd.readouterr().err)[0]
    assert float(kept) == pytest.approx(float(everything) / (processes if stage == 3 else 1), rel=0.15)


@needs_deepspeed
@pytest.mark.slow
def test_the_best_weights_are_put_back_and_adapters_are_kept(config: TrainingConfig, tmp_path: Path) -> None:
    config = changed(config, learning_rate=0.1, schedule="constant", epochs=1, held_out_every=1, keep_adapter_every=1)
    alone = train(config)
    losses = [json.loads(line)["held_out_loss"] for line in alone.training_log.read_text().splitlines()]
    assert losses.index(min(losses)) < len(losses) - 1
    together = train(changed(config, processes=2, sharding="deepspeed-zero3", output=tmp_path / "together"))
    # Rounding grows at such a rate, but a step moves weights a thousand times as far.
    assert sorted(together.kept_checkpoints) == [1, 2]
    folders = [(together.adapter, alone.adapter)]
    folders += [(together.kept_checkpoint(steps), alone.kept_checkpoint(steps)) for steps in (1, 2)]
    for pair in folders:
        own, other = (load_file(folder / "adapter_model.safetensors") for folder in pair)
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "offload", "tuning"), [(2, "none", "lora"), (2, "optimizer", "full"), (3, "none", "full")]
)
def test_processes_that_were_killed_go_on_to_the_same_bits_and_other_ways_to_the_same_numbers(
    config: TrainingConfig, tmp_path: Path, stage: int, offload: str, tuning: str
) -> None:
    config = changed(config, tuning=tuning, held_out="", epochs=3, checkpoint_every_seconds=0, learning_rate=1e-4)
    config = changed(config, weight_decay=0.1, gradient_checkpointing=stage == 3)
    spread = changed(config, processes=2, sharding=f"deepspeed-zero{stage}", offload=offload)
    undisturbed = train(changed(spread, output=tmp_path / "undisturbed"))
    killed = changed(spread, output=tmp_path / "killed")
    launcher = start(killed, tmp_path)
    wait_for(lambda: steps_logged(killed) >= 3, seconds=240)
    os.kill(workers_of(launcher.pid)[1], signal.SIGKILL)
    assert "process 1 of 2 was killed (SIGKILL)" in launcher.communicate(timeout=120)[0]
    assert not RunDirectory(killed.output).is_trained
    others: dict[str, dict[str, Any]] = {
        "one": {"processes": 1, "sharding": "none", "offload": "none"},
        "three": {"processes": 3},
        "zero2": {"sharding": "zero2", "offload": "none"},
    }
    for name in others:
        shutil.copytree(killed.output, tmp_path / name)
    assert_equal_runs(undisturbed, train(killed))
    for name, options in others.items():
        assert_same_training(undisturbed.path, train(changed(killed, output=tmp_path / name, **options)).path)


@needs_deepspeed
@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_training_and_says_so(config: TrainingConfig) -> None:
    config = changed(config, processes=2, sharding="deepspeed-zero2", tuning="full", learning_rate=1e30, held_out="")
    with pytest.raises(UserError, match=r"The loss became .* Lower --learning-rate"):
        train(config)
    assert not RunDirectory(config.output).is_trained


def test_what_deepspeed_cannot_do_is_refused_with_a_reason(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deepspeed_engine, "find_spec", lambda _name: object())
    for options, message in [
        ({"sharding": "deepspeed-zero3", "tuning": "qlora"}, "is not for --tuning qlora: .* the scales"),
        ({"sharding": "deepspeed-zero2", "optimizer": "paged"}, "--optimizer paged cannot keep moments"),
        (
            {"sharding": "zero3", "offload": "optimizer"},
            "--offload optimizer is DeepSpeed's: choose --sharding deepspeed",
        ),
        ({"sharding": "deepspeed-zero2", "offload": "weights"}, "--sharding deepspeed-zero2 has none. Choose"),
    ]:
        with pytest.raises(UserError, match=message):
            resolve(changed(config, **options))
    assert resolve(changed(config, sharding="deepspeed-zero2", tuning="qlora")).offload == "none"


def test_without_deepspeed_it_says_what_to_install(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepspeed_engine, "find_spec", lambda _name: None)
    for stage, instead in [(1, "zero2"), (2, "zero2"), (3, "zero3")]:
        with pytest.raises(
            UserError, match=rf"pip install 'response-tuning\[deepspeed\]', or choose --sharding {instead},"
        ):
            train(changed(config, sharding=f"deepspeed-zero{stage}"))
    assert not config.output.exists()
