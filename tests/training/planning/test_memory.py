"""Memory that runs out: a real allocation that fails becomes advice, and the run folder stays whole."""

import sys
from pathlib import Path

import pytest
import torch

from response_tuning.example import Example, write_examples
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training.planning.memory import (
    as_options,
    available_memory,
    is_out_of_memory,
    named_part,
    next_settings,
    program_memory,
)
from response_tuning.training.training_config import TrainingConfig
from tests.quick_process import run_quickly

CONFIG = TrainingConfig(output=Path("runs/mine"))


def test_what_torch_says_when_the_processor_has_no_memory_is_known() -> None:
    message = r"ran out for the moon\. Next, try --micro-batch-tokens 512; rt train --plan"
    with pytest.raises(UserError, match=message), named_part("the moon", CONFIG, longest=200):
        torch.empty(2**60, dtype=torch.uint8)


def test_what_python_says_is_known() -> None:
    with pytest.raises(UserError, match="ran out for a list"), named_part("a list", CONFIG):
        bytearray(2**62)


def test_what_a_gpu_says_is_known() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), named_part("a product", CONFIG):
        torch.ones(2, 3) @ torch.ones(2, 3)
    with pytest.raises(FileNotFoundError), named_part("a file", CONFIG):
        Path("there/is/none").read_text()


def test_smaller_micro_batches_come_first_and_never_below_the_longest_example() -> None:
    options = [as_options(changes) for changes in next_settings(CONFIG, longest=300)]
    assert options == [
        "--micro-batch-tokens 512",
        "--micro-batch-tokens 300",
        "--micro-batch-tokens 300 --gradient-checkpointing",
        "--micro-batch-tokens 300 --gradient-checkpointing --tuning qlora",
        "--micro-batch-tokens 256 --gradient-checkpointing --tuning qlora --max-length 256 --overlong truncate",
    ]


def test_full_tuning_in_fp32_gives_way_to_an_adapter_in_bf16() -> None:
    config = changed(CONFIG, tuning="full", dtype="float32", gradient_checkpointing=True)
    options = [as_options(changes) for changes in next_settings(config, longest=1024)]
    assert options[:2] == ["--tuning lora", "--tuning lora --dtype bfloat16"]


def test_several_processes_spread_the_weights_before_they_train_less() -> None:
    config = changed(CONFIG, tuning="full", gradient_checkpointing=True, gpus=4)
    options = [as_options(changes) for changes in next_settings(config, longest=1024)]
    assert options[:3] == ["--sharding zero3", "--sharding zero3 --tuning lora", "--sharding none --tuning qlora"]


def test_four_bit_weights_that_cannot_be_spread_are_not_advised_to_be() -> None:
    config = changed(CONFIG, tuning="qlora", gradient_checkpointing=True, gpus=4)
    assert not any("sharding" in changes for changes in next_settings(config, longest=1024))
    offloaded = changed(config, tuning="lora", sharding="zero3", offload="cpu")
    options = [as_options(changes) for changes in next_settings(offloaded, longest=1024)]
    assert options[0] == "--tuning qlora --sharding none --offload none"


def test_every_change_is_a_valid_configuration() -> None:
    for changes in next_settings(CONFIG, longest=300):
        changed(CONFIG, **changes)


def test_there_is_more_memory_than_the_program_takes() -> None:
    assert 10_000_000 < program_memory() < available_memory(torch.device("cpu"))


def test_a_training_that_runs_out_says_what_to_change_and_goes_on_later(
    tmp_path: Path, model_folder: Path, examples: list[Example]
) -> None:
    data, run = tmp_path / "data.jsonl", tmp_path / "run"
    # Long rows, so that one layer's activations are larger than what the heap has at hand.
    texts = [" ".join(example.completion for example in examples[start : start + 4]) for start in range(4)]
    write_examples(data, [Example(completion=(text * 20)[:4_000]) for text in texts * 6])
    arguments = ["train", "--output", str(run), "--data", str(data), "--model", str(model_folder), "--device", "cpu"]
    arguments += ["--dtype", "float32", "--max-length", "8192", "--micro-batch-tokens", "100000", "--epochs", "1"]
    arguments += ["--batch-size", "8", "--packing", "off", "--checkpoint-every-seconds", "0"]
    limited = "tests.training.planning.out_of_memory"
    failed = run_quickly([sys.executable, "-m", limited, "1000000", *arguments], text=True)
    said = " ".join(failed.stderr.split())
    assert failed.returncode == 2, said
    assert "Memory ran out for the activations and the loss of a micro-batch of 8 x" in said
    assert "Next, try --micro-batch-tokens 50000" in said
    assert "Traceback" not in said
    assert (run / "checkpoints" / "last.safetensors").exists()
    assert len((run / "training.jsonl").read_text().splitlines()) == 2
    assert not (run / "adapter").exists()
    resumed = run_quickly([sys.executable, "-m", "response_tuning", *arguments], text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after step 2" in resumed.stderr
    assert (run / "adapter").is_dir()
