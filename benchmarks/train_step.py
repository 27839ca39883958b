"""Training speed and memory beside TRL's SFTTrainer: the same rows, the same LoRA, the same supervised tokens.

    pip install 'response-tuning[embedded,benchmark]'
    python benchmarks/train_step.py
    python benchmarks/train_step.py --data alpaca.jsonl dolly.jsonl --examples 51 13

Each setting runs in a process of its own, one after the other. The first epoch warms up; the speed is the median of
the following ones.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from measuring import PEAK_SECONDS, published_examples, run_in_own_process
from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.data.example import Example, write_examples
from response_tuning.files import write_json
from response_tuning.models import decoder_and_head, load_model, load_tokenizer, resolve_model
from response_tuning.options import STARTER, Method
from response_tuning.training.config import TrainingConfig
from response_tuning.training.timing import matrix_product_peak
from response_tuning.training.trainer import train


class BenchmarkConfig(BaseModel):
    """Measure supervised tokens per second and peak memory, beside TRL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "embedded"
    """The base model."""
    data: tuple[str, ...] = (STARTER,)
    """The rows to train on: as for rt train, or a file with Alpaca's or Dolly's fields."""
    method: Method = "rt"
    """rt or it."""
    examples: tuple[int, ...] = (32,)
    """How many rows of each, from the first."""
    epochs: int = Field(default=2, ge=1)
    """Timed epochs, after one that is not."""
    batch_size: int = Field(default=16, ge=1)
    """Rows per optimizer step of ours; 16 is rt train's default. TRL takes 8 rows, its own default, or packed ones."""
    lora_rank: int = 16
    """The rank of the adapter matrices; alpha is twice that."""
    output: Path | None = None
    """A JSON file for the numbers."""
    setting: str | None = None
    """Measure this one setting in this process, and print its numbers as JSON."""


class _EpochClock:
    """Ends of epochs, in seconds from any start."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def durations(self) -> list[float]:
        """Seconds of every epoch after the first."""
        return [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)]


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
        write_examples(data, _examples(config))
        run = train(
            TrainingConfig(
                output=Path(folder) / "run",
                method=config.method,
                model=config.model,
                format=default_format(config.model),
                data=str(data),
                epochs=1 + config.epochs,
                batch_size=config.batch_size,
                lora_rank=config.lora_rank,
                lora_alpha=2 * config.lora_rank,
                packing=packing,
                device="cpu",
            )
        )
        log = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    clock = _EpochClock()
    clock.ends = [max(row["seconds"] for row in log if row["epoch"] == epoch + 1) for epoch in range(1 + config.epochs)]
    return _result(config, clock)


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
    """Packed rows in bf16 without checkpointing; a packed row holds as many tokens as ours, or its longest example."""
    longest = max(len(example.input_ids) for example in _encode(config)[0])
    return _measure_trl(
        config,
        per_device_train_batch_size=1,
        packing=True,
        max_length=max(longest, TrainingConfig.model_fields["micro_batch_tokens"].default),
        gradient_checkpointing=False,
        model_init_kwargs={"dtype": "bfloat16"},
    )


def _measure_trl(config: BenchmarkConfig, **options: Any) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = _EpochClock()

    class Timer(TrainerCallback):
        def on_epoch_end(self, *_arguments: Any, **_options: Any) -> None:
            clock.ends.append(time.perf_counter())

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
                num_train_epochs=1 + config.epochs,
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
        trainer.train()
    return _result(config, clock)


def _examples(config: BenchmarkConfig) -> list[Example]:
    """The first rows of each source."""
    sources = zip(config.data, config.examples, strict=True)
    return [example for source, count in sources for example in published_examples(source)[:count]]


def _encode(config: BenchmarkConfig) -> tuple[list[EncodedExample], Conversation]:
    conversation = Conversation(load_tokenizer(config.model), default_format(config.model))
    examples = _examples(config)
    return encode_examples(examples, conversation, config.method, max_length=2048, overlong="error")[0], conversation


def _result(config: BenchmarkConfig, clock: _EpochClock) -> dict[str, Any]:
    """Peak memory is read before the tokens are counted, which loads a model once more."""
    peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    encoded, _ = _encode(config)
    supervised = sum(example.supervised_count for example in encoded)
    model = load_model(config.model).model
    head = decoder_and_head(model)[1].weight.numel()
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    layers = sum(parameter.numel() for parameter in model.parameters()) - (head if tied else 2 * head)
    all_tokens = sum(len(example.input_ids) for example in encoded)
    seconds = statistics.median(clock.durations())
    return {
        "supervised_tokens_per_second": supervised / seconds,
        "flops": 4 * (layers * all_tokens + head * supervised) / seconds,
        "peak_memory_bytes": peak_memory_bytes,
        "epoch_seconds": clock.durations(),
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
