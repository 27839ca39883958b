"""Where a training step's time goes: the operations of forward and backward passes under PyTorch's profiler.

    python benchmarks/where_time_goes.py --data alpaca.jsonl dolly.jsonl --examples 26 6

Rows, adapter and micro-batches are those of ``benchmarks/train_step.py``. The first pass over them warms up, the second
one is profiled as well and thrown away (the profiler's own memory is new to the process then), the third one counts.
"""

import sys
from collections import Counter
from pathlib import Path
from tempfile import gettempdir

import torch
import tyro
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from measuring import first_examples
from response_tuning.conversation import Conversation, default_format, encode_examples
from response_tuning.inference.batch import Batch
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.options import STARTER
from response_tuning.training.batches.batching import epoch_batches, units
from response_tuning.training.batches.packing import decide_packing, split
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import add_adapter, load_base

_PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_"}
_KINDS = {
    "attention: matmuls and softmax": {"aten::bmm", "aten::baddbmm", "aten::_softmax", "aten::_softmax_backward_data"},
    "exponentials of the loss": {"aten::exp_", "aten::exp"},
    "activation function": {"aten::gelu", "aten::gelu_backward", "aten::silu", "aten::silu_backward"},
    "copies and conversions": {"aten::copy_", "aten::cat", "aten::index_select", "aten::index_fill_", "aten::clone"},
    "additions and multiplications": {"aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::addcmul_"},
    "sums and norms": {"aten::sum", "aten::mean", "aten::linalg_vector_norm", "aten::pow", "aten::rsqrt"},
}


class BenchmarkConfig(BaseModel):
    """Profile forward and backward passes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "embedded"
    """The base model."""
    data: tuple[str, ...] = (STARTER,)
    """The rows to train on: as for rt train, or a file with Alpaca's or Dolly's fields."""
    examples: tuple[int, ...] = (32,)
    """How many rows of each, from the first."""
    lora_rank: int = 16
    """The rank of the adapter matrices."""


def main() -> int:
    """Profile, and print a table."""
    config = tyro.cli(BenchmarkConfig)
    loss_of, batches = _prepare(config)
    _pass_over(loss_of, batches)
    for _ in range(2):
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
            _pass_over(loss_of, batches)
    _print(_by_kind(profiler.key_averages(group_by_input_shape=True), rank=config.lora_rank))
    return 0


def _prepare(config: BenchmarkConfig) -> tuple[ResponseLoss, list[Batch]]:
    """The loss of a model with an adapter, and the micro-batches of an epoch."""
    training = TrainingConfig(
        output=Path(gettempdir()) / "nothing-is-written",
        model=config.model,
        device="cpu",
        lora_rank=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
    )
    loaded = load_base(training.model, "lora", dtype="bfloat16", device="cpu")
    conversation = Conversation(loaded.tokenizer, default_format(config.model))
    examples = first_examples(config.data, config.examples)
    encoded, _ = encode_examples(
        examples, conversation, "rt", max_length=training.encoding.max_length, overlong="error"
    )
    sizes = training.batches
    packed = decide_packing(loaded.model, encoded, sizes, seed=0)
    model = add_adapter(loaded.model, training.adapter, fused=True).train()
    steps = epoch_batches(encoded, batch_size=sizes.batch_size, seed=0)
    batches = [
        micro_batch.batch
        for step in steps
        for micro_batch in split(units(step), tokens=sizes.tokens_at_once, packed=packed)
    ]
    return ResponseLoss(model), batches


def _pass_over(loss_of: ResponseLoss, batches: list[Batch]) -> None:
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
            loss_of(batch).mean().backward()


def _by_kind(operations: list[FunctionEventAvg], *, rank: int) -> Counter[str]:
    """Microseconds by kind of operation; those within an operation count for themselves alone."""
    spent: Counter[str] = Counter()
    for operation in operations:
        spent[_kind(operation, rank)] += operation.self_cpu_time_total
    return spent


def _kind(operation: FunctionEventAvg, rank: int) -> str:
    if operation.key in _PRODUCTS:
        is_adapter = any(rank in shape for shape in operation.input_shapes or [])
        return "matmuls of the adapter" if is_adapter else "matmuls of frozen weights"
    named = (kind for kind, names in _KINDS.items() if operation.key in names)
    return next(named, "everything else: other operations, and what each costs to begin")


def _print(spent: Counter[str]) -> None:
    total = sum(spent.values())
    table = Table("", "seconds", "fraction", title=f"{total / 1e6:.2f} s, {torch.get_num_threads()} threads")
    for kind, microseconds in spent.most_common():
        table.add_row(kind, f"{microseconds / 1e6:.2f}", f"{microseconds / total:.1%}")
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
