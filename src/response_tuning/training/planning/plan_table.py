"""A plan as a table in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table

from response_tuning.training.planning.memory import as_options
from response_tuning.training.planning.plan import Plan, TimePlan, devices_at_work

__all__ = ["plan_table"]

_MEMORY_NOTES = {
    "program": "Python and its libraries",
    "caches": "of matmuls, by shape of micro-batch",
    "weights": "the base model",
    "adapter": "",
    "gradients": "fp32",
    "optimizer": "AdamW's two moments, fp32",
    "activations": "the largest micro-batch, at the highest point",
    "gathered": "whole weights and gradients, for a layer or a step",
    "loss": "one tile of logits and the rows of hidden states",
    "slack": "what the allocator cannot use again",
}


def plan_table(plan: Plan) -> RenderableType:
    """The plan in three tables, with a sentence on whether it fits and what to change if not."""
    return Group(_data_table(plan), _memory_table(plan), _verdict(plan), *_time(plan))


def _data_table(plan: Plan) -> Table:
    table = _table("parameters and data")
    parameters, tokens = plan.parameters, plan.tokens
    fraction = parameters.trained / (
        parameters.base if plan.config.adapter.tuning == "full" else parameters.base + parameters.trained
    )
    padded = tokens.prompt + tokens.supervised + tokens.padding
    table.add_row("parameters of the base model", f"{parameters.base:,}", f"head {parameters.head:,}")
    table.add_row(
        "parameters trained", f"{parameters.trained:,}", f"{fraction:.2%} of all, --tuning {plan.config.adapter.tuning}"
    )
    table.add_row("examples", f"{tokens.examples:,}", f"{tokens.truncated:,} truncated, the longest {tokens.longest:,}")
    table.add_row("prompt tokens an epoch", f"{tokens.prompt:,}", "")
    table.add_row("supervised tokens an epoch", f"{tokens.supervised:,}", "")
    table.add_row(
        "padding tokens an epoch", f"{tokens.padding:,}", f"{tokens.padding / padded:.1%} of what is computed"
    )
    micro_batches = f"in {tokens.micro_batches:,} micro-batches"
    table.add_row("steps an epoch", f"{tokens.steps:,}", f"{micro_batches}, the largest {_size(plan)}")
    table.add_row("steps in all", f"{tokens.all_steps:,}", f"{plan.config.batches.epochs} epochs")
    return table


def _size(plan: Plan) -> str:
    if plan.largest.examples:
        return f"a packed row of {plan.largest.length:,} tokens"
    return f"{plan.largest.rows} x {plan.largest.length} tokens"


def _memory_table(plan: Plan) -> Table:
    per_process = (
        ""
        if plan.config.parallel.sharding == "none"
        else f", of each process, --sharding {plan.config.parallel.sharding}"
    )
    table = _table(f"memory, {plan.device}{per_process}")
    for part, size in vars(plan.memory).items():
        if size:
            table.add_row(part, _gigabytes(size), _MEMORY_NOTES[part])
    table.add_row(
        "in all", _gigabytes(plan.memory.total), f"of {_gigabytes(plan.available_bytes)} that this process can have"
    )
    return table


def _verdict(plan: Plan) -> str:
    if plan.fits:
        return f"It fits: {plan.memory.total / plan.available_bytes:.0%} of the memory there is."
    missing = f"It does not fit: {_gigabytes(plan.memory.total - plan.available_bytes)} are missing."
    found = plan.suggestion
    if found is None:
        return f"{missing} Choose a smaller --model."
    needed = f"{as_options(found.options)} takes {_gigabytes(found.total_bytes)}"
    return f"{missing} Next: {needed}." if found.fits else f"{missing} Even {needed}; choose a smaller --model."


def _time(plan: Plan) -> list[RenderableType]:
    if plan.time is None:
        return []
    time, table = plan.time, _table("expected time, without loading and saving")
    table.add_row("layers", _duration(time.layers), f"{1 / time.speed.layer_per_token:,.0f} tokens/s, padding counted")
    table.add_row("loss", _duration(time.loss), f"{1 / time.speed.loss_per_token:,.0f} supervised tokens/s")
    table.add_row("optimizer", _duration(time.optimizer), f"{time.speed.step:.3f} s a step")
    if time.held_out:
        table.add_row("held-out loss", _duration(time.held_out), "")
    supervised = plan.config.batches.epochs * plan.tokens.supervised / time.total
    table.add_row("in all", _duration(time.total), f"{supervised:,.0f} supervised tokens/s")
    return [table, _source(plan, time)]


def _source(plan: Plan, time: TimePlan) -> str:
    return (
        f"Measured just now on this {plan.device} with random weights: one layer and a part of the loss, "
        f"{time.speed.micro_batches} micro-batches of these data. Matmuls reach "
        f"{time.speed.peak_flops / 1e9:,.0f} GFLOP/s in {plan.config.memory.dtype} here; the plan counts on "
        f"{time.peak_fraction:.0%} of that. Other work on this machine at the same time makes it slower."
    ) + _in_parallel(devices_at_work(plan.config.parallel), plan.device)


def _in_parallel(devices: int, device: str) -> str:
    if devices == 1:
        return ""
    each = "GPU" if device == "cuda" else "machine"
    return f" It is divided evenly by {devices}: every {each} is taken to be as fast, and what they send to be free."


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, min_width=80)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    return table


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:,.1f} h"
