"""Weights spread over processes: the same training as in one process, with about half of them in each of two."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy
from transformers import PreTrainedTokenizerBase

from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import write_config
from response_tuning.support.errors import UserError
from response_tuning.training.parallel import launch
from response_tuning.training.parallel.fsdp import offload_policy
from response_tuning.training.trainer import train
from response_tuning.training.training_config import ParallelOptions, TrainingConfig
from tests.conftest import tiny_model
from tests.quick_process import QuickProcess, children_of
from tests.training.conftest import changed
from tests.training.parallel.test_launch import start, steps_logged, wait_for
from tests.training.parallel.test_processes import assert_same_training, weights_and_log
from tests.training.test_checkpoint import assert_equal_runs

pytestmark = pytest.mark.timeout(180)


@pytest.mark.slow
def test_sharded_processes_train_what_one_does(config: TrainingConfig, tmp_path: Path) -> None:
    config = changed(config, tuning="dora", packing="on", gradient_checkpointing=True, label_smoothing=0.1)
    alone = train(config)
    together = train(changed(config, processes=2, output=tmp_path / "together", sharding="zero3"))
    assert_same_training(alone.path, together.path)


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "tuning"), [("zero3", "lora"), ("zero2", "full")])
def test_offloaded_shards_train_to_the_same_bits_on_a_cpu_and_resume(
    config: TrainingConfig, tmp_path: Path, sharding: str, tuning: str
) -> None:
    """There the policy has nowhere to move shards to; gloo, gathering, clipping and checkpoints are those of a GPU."""
    config = changed(config, processes=2, sharding=sharding, tuning=tuning, checkpoint_every_seconds=0)
    kept = train(config)
    launcher = start(offloaded := changed(config, offload="cpu", output=tmp_path / "offloaded"), tmp_path)
    wait_for(lambda: steps_logged(offloaded) >= 2)
    os.kill(children_of(launcher.pid)[1], signal.SIGKILL)
    launcher.communicate(timeout=60)
    assert_equal_runs(kept, train(offloaded))


def test_torch_gets_the_policy_that_the_options_ask_for() -> None:
    assert type(offload_policy(ParallelOptions(sharding="zero3"), torch.device("cuda"))) is OffloadPolicy
    for device, pinned in (("cuda", True), ("cpu", False)):
        policy = offload_policy(ParallelOptions(sharding="zero3", offload="cpu"), torch.device(device))
        assert isinstance(policy, CPUOffloadPolicy)
        assert policy.pin_memory == pinned


@pytest.mark.slow
def test_the_best_weights_are_put_back_in_every_process(
    config: TrainingConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = changed(config, learning_rate=0.1, schedule="constant", held_out_every=1, epochs=1, seed=1)
    alone = train(config)
    losses = [json.loads(line)["held_out_loss"] for line in alone.training_log.read_text().splitlines()]
    assert losses.index(min(losses)) < len(losses) - 1
    capfd.readouterr()
    together = train(changed(config, processes=2, sharding="zero2", output=tmp_path / "together"))
    # Rounding grows at such a rate, but a step moves weights a thousand times as far.
    torch.testing.assert_close(weights_and_log(together.path)[0], weights_and_log(alone.path)[0], rtol=1e-4, atol=1e-4)
    kept, everything = re.findall(r"keeps ([\d.,]+) of ([\d.,]+) MB", capfd.readouterr().err)[0]
    assert float(kept) == pytest.approx(float(everything) / 2, rel=0.1)


@pytest.mark.slow
def test_sharded_processes_that_were_killed_go_on_to_the_same_bits_and_one_process_to_the_same_numbers(
    config: TrainingConfig, tmp_path: Path
) -> None:
    config = changed(config, tuning="full", held_out="", epochs=3, checkpoint_every_seconds=0, learning_rate=1e-4)
    sharded = changed(config, processes=2, sharding="zero3")
    undisturbed = train(changed(sharded, output=tmp_path / "undisturbed"))
    killed = changed(sharded, output=tmp_path / "killed")
    launcher = start(killed, tmp_path)
    wait_for(lambda: steps_logged(killed) >= 3)
    os.kill(children_of(launcher.pid)[1], signal.SIGKILL)
    assert "process 1 of 2 was killed (SIGKILL)" in launcher.communicate(timeout=60)[0]
    assert not RunDirectory(killed.output).is_trained
    shutil.copytree(killed.output, tmp_path / "by one")
    assert_equal_runs(undisturbed, train(killed))
    assert_same_training(undisturbed.path, train(changed(config, output=tmp_path / "by one")).path)


@pytest.mark.slow
@pytest.mark.parametrize(("sharding", "tuning"), [("zero3", "dora"), ("zero2", "full")])
def test_only_the_first_process_loads_weights_and_none_trains_others(
    config: TrainingConfig, tied_folder: Path, tmp_path: Path, sharding: str, tuning: str
) -> None:
    config = changed(config, model=str(tied_folder), tuning=tuning)
    alone = train(config)
    together = changed(config, output=tmp_path / "together", sharding=sharding)
    write_config(tmp_path / "config.yaml", together)
    command = [sys.executable, "-m", "tests.training.parallel.only_first_loads", str(tmp_path / "config.yaml")]
    port = launch._free_port()
    environments = [launch._environment(os.environ, rank=rank, processes=2, port=port) for rank in range(2)]
    ranks = [QuickProcess(command, env=each, stderr=subprocess.STDOUT, stdout=subprocess.PIPE) for each in environments]
    printed = [rank.communicate(timeout=150)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], printed
    assert_same_training(alone.path, together.output)


@pytest.mark.slow
def test_a_model_that_the_first_process_refuses_is_refused_by_all(
    config: TrainingConfig, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    model = tiny_model(tokenizer)
    model.lm_head.weight.data[0, 0] = torch.nan
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    config = changed(config, model=str(folder), processes=2, sharding="zero3")
    with pytest.raises(UserError, match=r"process [01] of 2 .*: LlamaForCausalLM makes its logits in a way"):
        train(config)
    assert not config.output.exists()


@pytest.mark.parametrize("options", [{"sharding": "zero2"}, {"sharding": "zero3", "tuning": "full"}])
def test_a_single_process_offloads_its_one_shard(
    config: TrainingConfig, options: dict[str, Any], tmp_path: Path
) -> None:
    plain = train(changed(config, **{**options, "sharding": "none"}))
    offloaded = train(changed(config, **options, offload="cpu", output=tmp_path / "offloaded"))
    assert_equal_runs(plain, offloaded)


def test_what_cannot_be_sharded_is_refused_with_a_reason(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match=r"is not for --tuning qlora: .* the\s+scales"):
        changed(config, sharding="zero3", tuning="qlora")
    with pytest.raises(UserError, match="--optimizer paged cannot keep optimizer state that --sharding zero2"):
        changed(config, sharding="zero2", optimizer="paged")
    with pytest.raises(UserError, match="--offload cpu needs --sharding zero2 or zero3"):
        changed(config, offload="cpu")
    assert changed(config, tuning="qlora", optimizer="paged").parallel.sharding == "none"
