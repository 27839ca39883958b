"""Preference tuning beside TRL's DPOTrainer: the same pairs, the same LoRA, speed and peak memory in one run.

    pip install 'response-tuning[embedded,benchmark]'
    python benchmarks/preference_step.py
    python benchmarks/preference_step.py --pairs 200 --seconds 120 --dtype float32 --device cpu

Each setting trains with DPO in its own process, over the same token ids. The first two steps are warm-up; the
supervised tokens (of chosen and rejected responses) and the time of the following steps count. Where the reference's
log-likelihoods are computed in advance, by ours always, that pass is in the time to the end of the first step; ours
takes them from the cache when it is run again.
"""

import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from measuring import SettingsOptions, first_examples, measure_settings
from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.data.preferences import paired
from response_tuning.example import Example, write_examples
from response_tuning.models.device import pick_device
from response_tuning.models.load import load_tokenizer, resolve_model
from response_tuning.support.options import STARTER, Method
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from train_step import BenchmarkConfig as TrainingBenchmark
from train_step import Watch

_WARM_UP_STEPS = 2
_MOST_TOKENS = 1024
"""TRL's default length. Pairs of which one side is longer are left out, of every setting."""
_NO_END = 1_000
"""Epochs: time is up before."""
_BETA = 0.1


class BenchmarkConfig(SettingsOptions):
    """Measure DPO in supervised tokens per second and peak memory, beside TRL."""

    model: str = "embedded"
    """The base model."""
    data: str = STARTER
    """The rows whose responses are preferred to those of other rows."""
    method: Method = "it"
    """rt or it."""
    pairs: int = Field(default=160, ge=1)
    """How many rows, from the first."""
    seconds: float = Field(default=60.0, gt=0)
    """How long each setting trains after the first two steps; it ends with the step that it is in by then."""
    batch_size: int = Field(default=8, ge=1)
    """Pairs per optimizer step, of every setting; 8 is TRL's default."""


def main() -> int:
    """Run all settings, or one of them in this process."""
    return measure_settings(__file__, tyro.cli(BenchmarkConfig), SETTINGS, show=_print, about=_threads)


def _threads(_: BenchmarkConfig) -> dict[str, Any]:
    return {"threads": torch.get_num_threads()}


def _pairs(config: BenchmarkConfig) -> list[Example]:
    """The rows, each with the response of another one as the rejected one."""
    rows = first_examples([config.data], [config.pairs])
    others = [row.completion for row in rows]
    random.Random(0).shuffle(others)
    return [
        row.model_copy(update={"rejected": other})
        for row, other in zip(rows, others, strict=True)
        if other != row.completion
    ]


def _encoded(config: BenchmarkConfig, conversation: Conversation) -> list[tuple[EncodedExample, EncodedExample]]:
    rows, report = encode_examples(
        paired(_pairs(config), source=config.data),
        conversation,
        config.method,
        max_length=_MOST_TOKENS,
        overlong="error",
    )
    assert report.rows_kept == len(rows)
    return list(zip(rows[::2], rows[1::2], strict=True))


def _watch(config: BenchmarkConfig) -> Watch:
    return Watch(TrainingBenchmark(seconds=config.seconds, device=config.device, dtype=config.dtype))


def _measure_ours(config: BenchmarkConfig) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pairs.jsonl"
        write_examples(data, _pairs(config))
        training = TrainingConfig(
            output=Path(folder) / "run",
            method=config.method,
            model=config.model,
            format=default_format(config.model),
            data=str(data),
            preference_loss="dpo",
            beta=_BETA,
            epochs=_NO_END,
            batch_size=config.batch_size,
            max_length=_MOST_TOKENS,
            lora_rank=config.lora_rank,
            lora_alpha=2 * config.lora_rank,
            dtype=config.dtype,
            device=config.device,
        )
        watch, so_far, begun = _watch(config), [0], time.perf_counter()
        first_step: list[float] = []

        def on_step(row: dict[str, Any]) -> None:
            first_step.append(time.perf_counter() - begun)
            so_far.append(row["supervised_tokens"])
            if watch.step_ended():
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            train(training, on_step=on_step)
    return _result(watch, so_far[-1] - so_far[_WARM_UP_STEPS], before_first_step=first_step[0])


def _measure_trl_defaults(config: BenchmarkConfig) -> dict[str, Any]:
    """As TRL trains by default, but in our dtype: its own is bf16 on every machine."""
    return _measure_trl(config, precomputed=False)


def _measure_trl_best(config: BenchmarkConfig) -> dict[str, Any]:
    """Without gradient checkpointing, and with the reference computed in advance."""
    return _measure_trl(config, precomputed=True, gradient_checkpointing=False)


def _measure_trl(config: BenchmarkConfig, *, precomputed: bool, **options: Any) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    watch, begun = _watch(config), time.perf_counter()
    tokens: list[int] = []
    first_step: list[float] = []

    class Timer(TrainerCallback):
        def on_step_end(self, *arguments: Any, **_options: Any) -> None:
            first_step.append(time.perf_counter() - begun)
            if watch.step_ended():
                arguments[-1].should_training_stop = True  # the trainer's control

    conversation = Conversation(load_tokenizer(config.model), default_format(config.model))
    rows = [
        {
            "prompt_ids": chosen.input_ids[: chosen.prompt_length],
            "chosen_ids": chosen.input_ids[chosen.prompt_length :],
            "rejected_ids": rejected.input_ids[rejected.prompt_length :],
        }
        for chosen, rejected in _encoded(config, conversation)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            model=resolve_model(config.model),
            args=DPOConfig(
                output_dir=folder,
                beta=_BETA,
                num_train_epochs=_NO_END,
                max_length=_MOST_TOKENS,
                per_device_train_batch_size=config.batch_size,
                use_cpu=pick_device(config.device).type == "cpu",
                bf16=config.dtype == "bfloat16",
                model_init_kwargs={"dtype": config.dtype},
                report_to="none",
                save_strategy="no",
                **options,
            ),
            # Its constructor wants texts; it trains on our token ids.
            train_dataset=Dataset.from_list([{"prompt": "A", "chosen": "b", "rejected": "c"}]),
            processing_class=conversation.tokenizer,
            peft_config=LoraConfig(
                r=config.lora_rank, lora_alpha=2 * config.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Timer()],
        )
        trainer.train_dataset = Dataset.from_list(rows)
        if precomputed:
            trainer.precompute_ref_logps = True
            trainer.train_dataset = trainer._precompute_ref_logps(trainer.train_dataset, "train", config.batch_size)
        collate = trainer.data_collator

        def collate_and_count(batch: list[dict[str, Any]]) -> Any:
            tokens.append(sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in batch))
            return collate(batch)

        trainer.data_collator = collate_and_count
        trainer.train()
    # Batches are made ahead of their steps.
    counted = sum(tokens[_WARM_UP_STEPS:][: len(watch.step_seconds)])
    return _result(watch, counted, before_first_step=first_step[0])


def _result(watch: Watch, supervised: int, *, before_first_step: float) -> dict[str, Any]:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        memory = torch.cuda.max_memory_allocated()
    return {
        "supervised_tokens_per_second": supervised / sum(watch.step_seconds),
        "seconds_to_first_step": before_first_step,
        "peak_memory_bytes": memory,
        "steps": len(watch.step_seconds),
        "supervised_tokens": supervised,
    }


def _print(report: dict[str, Any]) -> None:
    results = report["results"]
    last = list(results)[-1]
    ours = results[last]["supervised_tokens_per_second"]
    table = Table("setting", "supervised tokens/s", f"{last}, is faster by", "peak memory", "to the end of step 1")
    for name, result in results.items():
        table.add_row(
            name,
            f"{result['supervised_tokens_per_second']:.1f}",
            f"{ours / result['supervised_tokens_per_second']:.2f}x",
            f"{result['peak_memory_bytes'] / 1e9:.2f} GB",
            f"{result['seconds_to_first_step']:.0f} s",
        )
    console = Console(width=110)
    console.print(table)
    console.print(
        f"DPO in {report['config']['dtype']}, {report['threads']} threads. {report['versions']}\n{report['config']}",
        highlight=False,
    )


SETTINGS: dict[str, Callable[[BenchmarkConfig], dict[str, Any]]] = {
    "TRL, its defaults": _measure_trl_defaults,
    "TRL, at its best": _measure_trl_best,
    "ours": _measure_ours,
}
"""In the order they run."""


if __name__ == "__main__":
    sys.exit(main())
