"""Everything worth knowing about a machine with a GPU, in less than ten minutes, as one table.

    pip install 'response-tuning[benchmark,qlora,liger]'
    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --tiny --here      (a CPU, in seconds: does it run through?)

Models are random, of the shapes of Llama 3.1 8B and Llama 3.2 1B; rows are real. Each line is measured in a process of
its own, so that one that does not fit leaves the others alone. Goals are those of an H100.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from measuring import published_examples, run_in_own_process
from response_tuning.conversation import Conversation
from response_tuning.inference.generate import generate_responses
from response_tuning.inference.responder import Responder
from response_tuning.kernels.library_kernels import require_kernel
from response_tuning.kernels.linear_cross_entropy import linear_cross_entropy
from response_tuning.models.device import pick_device
from response_tuning.models.dtype import fixed_dtype
from response_tuning.models.load import LoadedModel, load_model, load_tokenizer
from response_tuning.models.machine import describe_machine
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.support.options import STARTER, Device, LossKernel
from response_tuning.training.parallel.replicated import Replicated
from response_tuning.training.planning.timing import matmul_rates, seconds_of
from train_step import BenchmarkConfig as TrainingBenchmark
from train_step import measure_ours, measure_trl

_MOST_SECONDS = 100
"""For one line, loading included."""


class BenchmarkConfig(BaseModel):
    """Measure training, the loss, generation and other libraries on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = STARTER
    """The rows to train on: as for rt train, or a file with Alpaca's or Dolly's fields."""
    examples: int = Field(default=2000, ge=8)
    """How many rows, from the first; few ones are repeated."""
    seconds: float = Field(default=12.0, gt=0)
    """How long each training is measured after two steps."""
    device: Device = "auto"
    """Where to measure."""
    tiny: bool = False
    """Models and matmuls of a few thousand weights, to see whether everything runs."""
    here: bool = False
    """Measure everything in this process."""
    only: tuple[str, ...] = ()
    """The lines to measure, by a part of their names; all of them if none is given."""
    output: Path | None = None
    """A JSON file for the numbers, with the machine's description."""
    models: Path | None = None
    """The folder of the random models (written by this script itself)."""
    setting: str | None = None
    """Measure this one line in this process, and print its numbers as JSON."""

    @property
    def training(self) -> TrainingBenchmark:
        """What all trainings of the 1B model share."""
        assert self.models is not None
        return TrainingBenchmark(
            model=str(self.models / "1b"),
            data=(str(self.models / "rows.jsonl"),),
            examples=(self.examples,),
            seconds=self.seconds,
            batch_size=4 if self.tiny else 64,
            peak_seconds=0.02 if self.tiny else 0.6,
            dtype=fixed_dtype("auto", self.device),
            device=self.device,
        )


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    measure: Callable[[BenchmarkConfig], float]
    unit: str
    goal: float | None = None
    needs: tuple[str, ...] = ()
    """Packages."""
    needs_cuda: bool = False


def main() -> int:
    """Measure all lines, or one of them in this process."""
    config = tyro.cli(BenchmarkConfig)
    if config.setting is not None:
        print(json.dumps({"value": LINES[config.setting].measure(config)}))
        return 0
    started = time.perf_counter()
    names = [name for name in LINES if not config.only or any(part in name for part in config.only)]
    with tempfile.TemporaryDirectory() as folder:
        config = config.model_copy(update={"models": Path(folder), "only": ()})
        _write_models(config)
        results = {name: _result(name, config) for name in names}
    report = {
        "results": results,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": describe_machine().as_json(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl") if find_spec(name)},
    }
    _print(report)
    if config.output is not None:
        write_json(config.output, report)
    return 0


def _result(name: str, config: BenchmarkConfig) -> dict[str, Any]:
    """The value of a line, or why there is none."""
    line = LINES[name]
    missing = [package for package in line.needs if find_spec(package) is None]
    if missing:
        return {"left_out": f"{', '.join(missing)} not installed"}
    if line.needs_cuda and pick_device(config.device).type != "cuda":
        return {"left_out": "needs a CUDA GPU"}
    started = time.perf_counter()
    try:
        if config.here:
            value = line.measure(config)
        else:
            run = functools.partial(run_in_own_process, __file__, seconds_at_most=_MOST_SECONDS)
            value = run(name, config)["value"]
    except UserError as error:
        return {"left_out": str(error)}
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return {"left_out": f"failed: {error.__class__.__name__}; its output has the reason"}
    return {"value": value, "seconds": round(time.perf_counter() - started, 1)}


def _write_models(config: BenchmarkConfig) -> None:
    """The rows; the 1B model with weights; of the 8B model, whose weights are made on the GPU, the configuration."""
    assert config.models is not None
    rows = published_examples(config.data)
    rows = (rows * (1 + config.examples // len(rows)))[: config.examples]
    with (config.models / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": row.prompt, "completion": row.completion}) + "\n" for row in rows)
    tokenizer = _tokenizer([f"{row.prompt or ''} {row.completion}" for row in rows[:2000]])
    for name in ("1b", "8b"):
        shape = _shape(name, config, tokenizer)
        tokenizer.save_pretrained(str(config.models / name))
        if name == "8b":
            shape.save_pretrained(config.models / name)
            continue
        model = _random_model(shape, pick_device(config.device))
        model.save_pretrained(config.models / name)


def _shape(name: str, config: BenchmarkConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    sizes: dict[str, Any] = {
        "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
        "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
    }[name]
    heads: dict[str, Any] = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256}
    if config.tiny:
        sizes |= {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    ends: dict[str, Any] = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return LlamaConfig(**sizes, **heads, **ends, max_position_embeddings=8192)


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the rows: tokens as long as those of a tokenizer that knows the language."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=16_000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def _random_model(shape: LlamaConfig, device: torch.device) -> Any:
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    return model.eval().requires_grad_(False)


@contextmanager
def _random_weights(config: BenchmarkConfig) -> Iterator[TrainingBenchmark]:
    """Trainings of the 8B model, whose weights are made where they are needed."""
    assert config.models is not None
    folder = config.models / "8b"

    def load(_strategy: Replicated, training: Any) -> LoadedModel:
        device = pick_device(config.device)
        model = _random_model(LlamaConfig.from_pretrained(folder), device)
        return LoadedModel(model.to(getattr(torch, training.memory.dtype)), load_tokenizer(str(folder)), str(folder))

    with patch.object(Replicated, "load", load):
        yield config.training.model_copy(update={"model": str(folder)})


def _large(config: BenchmarkConfig, **options: Any) -> float:
    with _random_weights(config) as training:
        return _rate(measure_ours(training, **_packed(4096, options)))


def _small(config: BenchmarkConfig, **options: Any) -> float:
    return _rate(measure_ours(config.training, **_packed(8192, options)))


def _packed(tokens: int, options: dict[str, Any]) -> dict[str, Any]:
    return {"packing": "on", "micro_batch_tokens": tokens, **options}


def _trl(config: BenchmarkConfig, **options: Any) -> float:
    given = {
        "per_device_train_batch_size": 8,
        "packing": True,
        "gradient_checkpointing": False,
        "bf16": config.training.dtype == "bfloat16",
        "model_init_kwargs": {"dtype": config.training.dtype},
    }
    return _rate(measure_trl(config.training, **(given | options)))


def _rate(result: dict[str, Any]) -> float:
    rate: float = result["tokens_per_second"]
    return rate


def _matmuls(config: BenchmarkConfig) -> float:
    """TFLOP/s."""
    dtype = getattr(torch, fixed_dtype("auto", config.device))
    return max(matmul_rates(pick_device(config.device), dtype, seconds=0.05 if config.tiny else 2)) / 1e12


def _loss(config: BenchmarkConfig, kernel: LossKernel = "tiles") -> float:
    """Milliseconds, forward and backward, with a frozen head."""
    device = pick_device(config.device)
    require_kernel(kernel, device)
    tokens, width, vocabulary = (64, 32, 1000) if config.tiny else (8192, 4096, 128_256)
    dtype = getattr(torch, fixed_dtype("auto", config.device))
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width, device=device).to(dtype).requires_grad_()
    head = (torch.randn(vocabulary, width, device=device) / width**0.5).to(dtype)
    targets = torch.randint(vocabulary, (tokens,), device=device)

    def work() -> None:
        linear_cross_entropy(hidden, head, targets, kernel=kernel).sum().backward()

    work()
    return 1000 * min(seconds_of(work, device) for _ in range(5))


@torch.inference_mode()
def _generation(config: BenchmarkConfig) -> float:
    """Generated tokens per second, 64 prompts at once."""
    assert config.models is not None
    loaded = load_model(str(config.models / "1b"), device=config.device)
    responder = Responder(loaded, Conversation(loaded.tokenizer, "tulu"))
    prompts = [row.prompt or "Hello" for row in published_examples(str(config.models / "rows.jsonl"))[:64]]

    def generate() -> int:
        options = {"max_new_tokens": 8 if config.tiny else 128, "batch_size": 64}
        batches = generate_responses(responder, prompts, **options)
        return sum(response.token_count for batch in batches for response in batch.values())

    generate()
    started = time.perf_counter()
    return generate() / (time.perf_counter() - started)


_TOKENS = "tokens/s"
LINES: dict[str, Line] = {
    "matmul peak": Line(_matmuls, "TFLOP/s"),
    "loss 8,192 x 4,096 x 128,256, tiles": Line(_loss, "ms", goal=27),
    "loss, --loss-kernel liger": Line(
        functools.partial(_loss, kernel="liger"), "ms", needs=("liger_kernel",), needs_cuda=True
    ),
    "loss, --loss-kernel cut-cross-entropy": Line(
        functools.partial(_loss, kernel="cut-cross-entropy"), "ms", needs=("cut_cross_entropy",), needs_cuda=True
    ),
    "8B LoRA r16, packed 4,096": Line(_large, _TOKENS, goal=14_000),
    "8B LoRA r16, padded": Line(functools.partial(_large, packing="off"), _TOKENS),
    "8B LoRA r16, packed, --attention sdpa": Line(functools.partial(_large, attention="sdpa"), _TOKENS),
    "8B LoRA r16, --micro-batch-tokens auto": Line(functools.partial(_large, micro_batch_tokens="auto"), _TOKENS),
    "8B LoRA r16, --fused-layers on": Line(functools.partial(_large, fused_layers="on"), _TOKENS),
    "1B full, packed": Line(functools.partial(_small, tuning="full"), _TOKENS, goal=60_000),
    "1B LoRA, packed": Line(_small, _TOKENS),
    "1B LoRA, --attention flex": Line(functools.partial(_small, attention="flex"), _TOKENS, needs_cuda=True),
    "1B LoRA, --deterministic": Line(functools.partial(_small, deterministic=True), _TOKENS, needs_cuda=True),
    "1B QLoRA, packed": Line(functools.partial(_small, tuning="qlora"), _TOKENS, needs=("bitsandbytes",)),
    "1B full, zero2 and offload": Line(
        functools.partial(_small, tuning="full", sharding="zero2", offload="cpu"), _TOKENS
    ),
    "1B full, zero3 and offload": Line(
        functools.partial(_small, tuning="full", sharding="zero3", offload="cpu"), _TOKENS
    ),
    "1B LoRA, TRL, packed": Line(_trl, _TOKENS, needs=("trl",)),
    "1B LoRA, TRL with Liger": Line(
        functools.partial(_trl, use_liger_kernel=True), _TOKENS, needs=("trl", "liger_kernel"), needs_cuda=True
    ),
    "1B generation, 64 at once": Line(_generation, _TOKENS),
}
"""In the order they run."""


def _print(report: dict[str, Any]) -> None:
    table = Table("measured", "value", "unit", "goal on an H100")
    for name, result in report["results"].items():
        line = LINES[name]
        value = f"{result['value']:,.1f}" if "value" in result else f"left out: {result['left_out']}"
        table.add_row(name, value, line.unit, "" if line.goal is None else f"{line.goal:,.0f}")
    console = Console(width=120)
    console.print(table)
    devices = [device["name"] for device in report["machine"]["devices"]]
    console.print(f"{devices[0]}, {report['versions']}, {report['seconds']} s in all", highlight=False)
    packed, padded = (
        report["results"].get(name, {}).get("value") for name in ("8B LoRA r16, packed 4,096", "8B LoRA r16, padded")
    )
    if packed and padded:
        console.print(f"packed is {packed / padded:.2f} times padded (goal 3)", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
