"""Training speed and memory beside TRL's SFTTrainer: the same rows, the same LoRA, the same supervised tokens.

    pip install 'response-tuning[embedded,benchmark]'
    python benchmarks/train_step.py
    python benchmarks/train_step.py --data alpaca.jsonl dolly.jsonl --examples 2000 500 --seconds 120

Each setting runs in a process of its own, one after the other, over the same rows in an order of its own. The first two
steps warm up; what counts are the supervised tokens of the following ones, and the time from the first to the last.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from measuring import PEAK_SECONDS, first_examples, run_in_own_process
from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.data.example import write_examples
from response_tuning.files import read_json_lines, write_json
from response_tuning.models import decoder_and_head, load_model, load_tokenizer, resolve_model
from response_tuning.options import STARTER, Method
from response_tuning.runs import RunDirectory
from response_tuning.training.config import TrainingConfig
from response_tuning.training.timing import matrix_product_peak
from response_tuning.training.trainer import train

_WARM_UP_STEPS = 2
_MOST_TOKENS = 1024
"""TRL's default length. Longer rows are left out, of every setting."""
_NO_END = 1_000
"""Epochs: time is up before."""


class BenchmarkConfig(BaseModel):
    """Measure supervised tokens per second and peak memory, beside TRL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "embedded"
    """The base model."""
    data: tuple[str, ...] = (STARTER,)
    """The rows to train on: as for rt train, or a file with Alpaca's or Dolly's fields."""
    method: Method = "rt"
    """rt or it."""
    examples: tuple[int, ...] = (320,)
    """How many rows of each, from the first."""
    seconds: float = Field(default=60.0, gt=0)
    """How long each setting trains after the first two steps; it ends with the step that it is in by then."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per optimizer step of ours; 16 is rt train's default. TRL takes 8 rows, its own default, or packed ones."""
    lora_rank: int = 16
    """The rank of the adapter matrices; alpha is twice that."""
    output: Path | None = None
    """A JSON file for the numbers."""
    setting: str | None = None
    """Measure this one setting in this process, and print its numbers as JSON."""


def main() -> int:
    """Run all settings, or one of them in this process."""
    config = tyro.cli(BenchmarkConfig)
    if config.setting is not None:
        print(json.dumps(_measure(config, SETTINGS[config.setting])))
        return 0
    try:
        versions = {package: version(package) for package in ("torch", "transformers", "peft", "trl")}
    except ModuleNotFoundError as error:
        print(f"{error}. Install it: pip install 'response-tuning[benchmark]'", file=sys.stderr)
        return 2
    results = {name: run_in_own_process(__file__, name, config) for name in SETTINGS}
    report = {
        "results": results,
        "config": config.model_dump(mode="json"),
        "versions": versions,
        "cores": torch.get_num_threads(),
    }
    _print(report)
    if config.output is not None:
        write_json(config.output, report)
    return 0


def _measure(config: BenchmarkConfig, setting: Callable[[BenchmarkConfig], dict[str, Any]]) -> dict[str, Any]:
    """A setting's numbers, with the rate of matrix products before and after it: a machine's speed does not stay."""
    before = _peak_flops()
    result = setting(config)
    return {**result, "peak_flops": (before + _peak_flops()) / 2}


def _peak_flops() -> float:
    return matrix_product_peak(torch.device("cpu"), torch.bfloat16, seconds=PEAK_SECONDS)


def _measure_padded(config: BenchmarkConfig) -> dict[str, Any]:
    return _measure_ours(config, packing="off")


def _measure_packed(config: BenchmarkConfig) -> dict[str, Any]:
    return _measure_ours(config, packing="on")


def _measure_ours(config: BenchmarkConfig, *, packing: Literal["on", "off"]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        write_examples(data, first_examples(config.data, config.examples))
        training = TrainingConfig(
            output=Path(folder) / "run",
            method=config.method,
            model=config.model,
            format=default_format(config.model),
            data=str(data),
            epochs=_NO_END,
            batch_size=config.batch_size,
            max_length=_MOST_TOKENS,
            overlong="drop",
            lora_rank=config.lora_rank,
            lora_alpha=2 * config.lora_rank,
            packing=packing,
            device="cpu",
        )
        log = RunDirectory(training.output).training_log
        threading.Thread(target=_interrupt, args=(log, config.seconds), daemon=True).start()
        with suppress(KeyboardInterrupt):
            train(training)
        rows = read_json_lines(log)
    ends = [row["seconds"] for row in rows]
    so_far = [0, *(row["supervised_tokens"] for row in rows)]
    return _result(config, ends, [after - before for before, after in pairwise(so_far)])


def _interrupt(log: Path, seconds: float) -> None:
    """End this process's training, in the way of a user, so many seconds after the steps that warm up."""
    while not log.is_file() or log.read_text().count("\n") < _WARM_UP_STEPS:
        time.sleep(0.05)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def _measure_trl_defaults(config: BenchmarkConfig) -> dict[str, Any]:
    return _measure_trl(config)


def _measure_reference_recipe(config: BenchmarkConfig) -> dict[str, Any]:
    """As the paper's released scripts train, but for their 4-bit weights: padded rows in bf16, with checkpointing."""
    return _measure_trl(
        config,
        per_device_train_batch_size=8,
        gradient_checkpointing=True,
        model_init_kwargs={"dtype": "bfloat16"},
    )


def _measure_trl_best(config: BenchmarkConfig) -> dict[str, Any]:
    """Packed rows in bf16 without checkpointing, of as many tokens as ours."""
    return _measure_trl(
        config,
        per_device_train_batch_size=1,
        packing=True,
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "bfloat16"},
    )


def _measure_trl(config: BenchmarkConfig, **options: Any) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[float] = []
    tokens: list[int] = []

    class Timer(TrainerCallback):
        def on_step_end(self, *arguments: Any, **_options: Any) -> None:
            ends.append(time.perf_counter())
            if len(ends) > _WARM_UP_STEPS and ends[-1] - ends[_WARM_UP_STEPS - 1] > config.seconds:
                arguments[-1].should_training_stop = True  # the trainer's control

    encoded, conversation = _encode(config)
    rows = [
        {
            "input_ids": example.input_ids,
            "labels": [-100] * example.prompt_length + example.input_ids[example.prompt_length :],
        }
        for example in encoded
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=resolve_model(config.model),
            args=SFTConfig(
                output_dir=folder,
                num_train_epochs=_NO_END,
                max_length=_MOST_TOKENS,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                **options,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=conversation.tokenizer,
            peft_config=LoraConfig(
                r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Timer()],
        )
        kept = sum(label != -100 for row in trainer.train_dataset for label in row["labels"])
        assert kept == sum(example.supervised_count for example in encoded), "TRL supervises other tokens"
        collate = trainer.data_collator

        def collate_and_count(rows: list[dict[str, Any]]) -> Any:
            batch = collate(rows)
            tokens.append(int((batch["labels"] != -100).sum()))
            return batch

        trainer.data_collator = collate_and_count
        trainer.train()
    return _result(config, ends, tokens)


def _encode(config: BenchmarkConfig) -> tuple[list[EncodedExample], Conversation]:
    conversation = Conversation(load_tokenizer(config.model), default_format(config.model))
    examples = first_examples(config.data, config.examples)
    encoded, _ = encode_examples(examples, conversation, config.method, max_length=_MOST_TOKENS, overlong="drop")
    return encoded, conversation


def _result(config: BenchmarkConfig, ends: list[float], tokens: list[int]) -> dict[str, Any]:
    """The numbers of a setting, from the second at which each step ended and the supervised tokens it had.

    Peak memory is read first: counting parameters loads a model once more.
    """
    peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    encoded, _ = _encode(config)
    tokens_for_each_supervised = sum(len(example.input_ids) for example in encoded) / sum(
        example.supervised_count for example in encoded
    )
    model = load_model(config.model).model
    head = decoder_and_head(model)[1].weight.numel()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    layers = sum(parameter.numel() for parameter in model.parameters()) - (head if tied else 2 * head)
    seconds = ends[-1] - ends[_WARM_UP_STEPS - 1]
    supervised = sum(tokens[_WARM_UP_STEPS : len(ends)])
    return {
        "supervised_tokens_per_second": supervised / seconds,
        "flops": 4 * (layers * tokens_for_each_supervised + head) * supervised / seconds,
        "peak_memory_bytes": peak_memory_bytes,
        "steps": len(ends) - _WARM_UP_STEPS,
        "supervised_tokens": supervised,
        "rows": len(encoded),
    }


def _print(report: dict[str, Any]) -> None:
    results = report["results"]
    ours = results["ours, packed"]
    table = Table(
        "setting", "supervised tokens/s", "ours, packed, is faster by", "peak memory", "of matrix-product peak"
    )
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['supervised_tokens_per_second']:.1f}",
            f"{ours['supervised_tokens_per_second'] / result['supervised_tokens_per_second']:.2f}x",
            f"{result['peak_memory_bytes'] / 1e9:.2f} GB",
            f"{result['flops'] / result['peak_flops']:.0%} of {result['peak_flops'] / 1e9:.0f} GFLOP/s",
        )
    console = Console(width=110)
    console.print(table)
    console.print(
        "Operations: 4 x (layer parameters x tokens + head parameters x supervised tokens). Peak: the best product in "
        f"bf16 on {report['cores']} threads, the mean of before and after each setting.\n"
        f"{report['versions']}\n{report['config']}",
        highlight=False,
    )


SETTINGS: dict[str, Callable[[BenchmarkConfig], dict[str, Any]]] = {
    "TRL, its defaults": _measure_trl_defaults,
    "TRL, reference recipe": _measure_reference_recipe,
    "TRL, packed, bf16": _measure_trl_best,
    "ours, padded": _measure_padded,
    "ours, packed": _measure_packed,
}
"""In the order they run."""


if __name__ == "__main__":
    sys.exit(main())
