"""Training speed and memory beside TRL's SFTTrainer: the same rows, the same LoRA, the same supervised tokens.

    pip install 'response-tuning[embedded,benchmark]'
    python benchmarks/train_step.py
    python benchmarks/train_step.py --data alpaca.jsonl dolly.jsonl --examples 2000 500 --seconds 120
    python benchmarks/train_step.py --dtype float32 --device cpu --settings "ours, packed" "TRL, packed"

Each setting runs in its own process, one after the other, over the same rows in its own order. The first two steps are
warm-up; the supervised tokens and the time of the following ones count. Every ten seconds, between two steps, matmuls
are timed as well, because the machine's speed changes.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from measuring import ProductPeak, SettingsOptions, first_examples, measure_settings
from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.example import write_examples
from response_tuning.models.device import pick_device
from response_tuning.models.load import load_model_config, load_tokenizer, resolve_model
from response_tuning.support.options import STARTER, Method
from response_tuning.training.planning.plan import count_parameters
from response_tuning.training.trainer import train
from response_tuning.training.training_config import AdapterOptions, MemoryOptions, TrainingConfig

_WARM_UP_STEPS = 2
_PRODUCTS_EVERY_SECONDS = 10.0
_MOST_TOKENS = 1024
"""TRL's default length. Longer rows are left out, of every setting."""
_NO_END = 1_000
"""Epochs: time is up before."""


class BenchmarkConfig(SettingsOptions):
    """Measure supervised tokens per second and peak memory, beside TRL."""

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
    peak_seconds: float = Field(default=0.6, gt=0)
    """How long matmuls are timed each time."""


def main() -> int:
    """Run all settings, or one of them in this process."""
    return measure_settings(__file__, tyro.cli(BenchmarkConfig), SETTINGS, show=_print, about=_device)


def _device(config: BenchmarkConfig) -> dict[str, Any]:
    device = pick_device(config.device)
    return {"device": torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"}


class Watch:
    """Times the steps of a training, and matmuls between them.

    Args:
        config: How long to train after the steps that warm up; where, and in which dtype.
    """

    def __init__(self, config: BenchmarkConfig) -> None:
        self._seconds = config.seconds
        self._taken: list[float] = []
        self._device = pick_device(config.device)
        self.peak = ProductPeak(self._device, getattr(torch, config.dtype), seconds=config.peak_seconds)
        self._went_on = self._next_products = time.perf_counter()

    def step_ended(self) -> bool:
        """To be called after each step; returns whether time is up."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self._taken.append(now - self._went_on)
        is_over = sum(self.step_seconds) > self._seconds
        if len(self._taken) >= _WARM_UP_STEPS and (is_over or now >= self._next_products):
            self.peak.measure()
            self._next_products = time.perf_counter() + _PRODUCTS_EVERY_SECONDS
        self._went_on = time.perf_counter()
        return is_over

    @property
    def step_seconds(self) -> list[float]:
        """Of the steps after those that warm up."""
        return self._taken[_WARM_UP_STEPS:]


def _measure_padded(config: BenchmarkConfig) -> dict[str, Any]:
    return measure_ours(config, packing="off")


def _measure_packed(config: BenchmarkConfig) -> dict[str, Any]:
    return measure_ours(config, packing="on")


def measure_ours(config: BenchmarkConfig, *, packing: Literal["on", "off"], **options: Any) -> dict[str, Any]:
    """Train as ``rt train`` with more ``options`` for the time of ``config``; the numbers of the table."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        write_examples(data, first_examples(config.data, config.examples))
        values: dict[str, Any] = {
            "output": Path(folder) / "run",
            "method": config.method,
            "model": config.model,
            "format": default_format(config.model),
            "data": str(data),
            "epochs": _NO_END,
            "batch_size": config.batch_size,
            "max_length": _MOST_TOKENS,
            "overlong": "drop",
            "lora_rank": config.lora_rank,
            "lora_alpha": 2 * config.lora_rank,
            "packing": packing,
            "dtype": config.dtype,
            "device": config.device,
        }
        training = TrainingConfig(**(values | options))
        watch, so_far = Watch(config), [0]

        def on_step(row: dict[str, Any]) -> None:
            so_far.append(row["supervised_tokens"])
            if watch.step_ended():
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            train(training, on_step=on_step)
    return _result(config, watch, so_far[-1] - so_far[_WARM_UP_STEPS])


def _measure_trl_defaults(config: BenchmarkConfig) -> dict[str, Any]:
    return measure_trl(config)


def _measure_reference_recipe(config: BenchmarkConfig) -> dict[str, Any]:
    """As the paper's released scripts train, but for their 4-bit weights: padded rows in bf16, with checkpointing."""
    return measure_trl(
        config,
        per_device_train_batch_size=8,
        gradient_checkpointing=True,
        model_init_kwargs={"dtype": "bfloat16"},
    )


def _measure_trl_best(config: BenchmarkConfig) -> dict[str, Any]:
    """Packed rows in our dtype without checkpointing, of as many tokens as ours."""
    return measure_trl(
        config,
        per_device_train_batch_size=1,
        packing=True,
        gradient_checkpointing=False,
        bf16=config.dtype == "bfloat16",
        model_init_kwargs={"dtype": config.dtype},
    )


def measure_trl(config: BenchmarkConfig, **options: Any) -> dict[str, Any]:
    """Train by TRL's SFTTrainer with ``options`` of its SFTConfig for the time of ``config``."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    watch = Watch(config)
    tokens: list[int] = []

    class Timer(TrainerCallback):
        def on_step_end(self, *arguments: Any, **_options: Any) -> None:
            if watch.step_ended():
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
                use_cpu=pick_device(config.device).type == "cpu",
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
    # Batches are made ahead of their steps.
    return _result(config, watch, sum(tokens[_WARM_UP_STEPS:][: len(watch.step_seconds)]))


def _encode(config: BenchmarkConfig) -> tuple[list[EncodedExample], Conversation]:
    conversation = Conversation(load_tokenizer(config.model), default_format(config.model))
    examples = first_examples(config.data, config.examples)
    encoded, _ = encode_examples(examples, conversation, config.method, max_length=_MOST_TOKENS, overlong="drop")
    return encoded, conversation


def _result(config: BenchmarkConfig, watch: Watch, supervised: int) -> dict[str, Any]:
    """The numbers of a setting, from the steps after those that warm up and the supervised tokens they had."""
    encoded, _ = _encode(config)
    tokens_for_each_supervised = sum(len(example.input_ids) for example in encoded) / sum(
        example.supervised_count for example in encoded
    )
    adapter = AdapterOptions(lora_rank=config.lora_rank)
    parameters = count_parameters(load_model_config(config.model), adapter, MemoryOptions(dtype=config.dtype))
    layers = parameters.layers + parameters.trained
    seconds = sum(watch.step_seconds)
    return {
        "supervised_tokens_per_second": supervised / seconds,
        "tokens_per_second": supervised * tokens_for_each_supervised / seconds,
        "flops": 4 * (layers * tokens_for_each_supervised + parameters.head) * supervised / seconds,
        "peak_flops": watch.peak.flops,
        "peak_memory_bytes": _peak_memory_bytes(config),
        "steps": len(watch.step_seconds),
        "supervised_tokens": supervised,
        "rows": len(encoded),
    }


def _peak_memory_bytes(config: BenchmarkConfig) -> int:
    """The GPU's if there is one, else this process's."""
    if pick_device(config.device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print(report: dict[str, Any]) -> None:
    results = report["results"]
    last = list(results)[-1]
    ours = results[last]
    table = Table("setting", "supervised tokens/s", f"{last}, is faster by", "peak memory", "of the matmul peak")
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
        "Operations: 4 x (layer and adapter parameters x tokens + head parameters x supervised tokens). Peak: the rate "
        f"of the best matmul in {report['config']['dtype']} on {report['device']}, measured between steps.\n"
        f"{report['versions']}\n{report['config']}",
        highlight=False,
    )


SETTINGS: dict[str, Callable[[BenchmarkConfig], dict[str, Any]]] = {
    "TRL, its defaults": _measure_trl_defaults,
    "TRL, reference recipe": _measure_reference_recipe,
    "TRL, packed": _measure_trl_best,
    "ours, padded": _measure_padded,
    "ours, packed": _measure_packed,
}
"""In the order they run."""


if __name__ == "__main__":
    sys.exit(main())
