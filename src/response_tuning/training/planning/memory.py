"""How much memory there is, and the message when it runs out: which part took it, and the setting to change next."""

import errno
import resource
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import torch

from response_tuning.support.commands import typed_options
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training.training_config import CHANGES_NO_RUN, TrainingConfig

__all__ = ["as_options", "available_memory", "is_out_of_memory", "named_part", "next_settings", "program_memory"]

_CONTROL_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SIGNS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "unable to allocate",
    "could not create a memory",
)
"""The messages of torch's allocators, oneDNN and the operating system, which have no exception type of their own."""


def available_memory(device: torch.device) -> int:
    """The bytes that this process can have on ``device``, those that it has already included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    machine = psutil.virtual_memory().available + program_memory()
    limits = [limit for path in _CONTROL_GROUP_LIMITS if (limit := _control_group_limit(path)) is not None]
    return min([machine, *limits, *_process_limit()])


def program_memory() -> int:
    """The bytes of main memory that this process holds now: the libraries that it has loaded, above all."""
    return int(psutil.Process().memory_info().rss)


def _control_group_limit(path: Path) -> int | None:
    """A container's limit in bytes; None where there is none."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def _process_limit() -> list[int]:
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return [] if limit == resource.RLIM_INFINITY else [limit]


def next_settings(config: TrainingConfig, *, longest: int) -> list[dict[str, Any]]:
    """Changes of ``config`` that save memory, cheapest first; each includes those before it.

    Smaller micro-batches and gradient checkpointing do not change what is learned, so they come before the others.

    Args:
        config: What did not fit.
        longest: Tokens of the longest example: a micro-batch never gets smaller than that.
    """
    changes: list[dict[str, Any]] = []
    tokens = config.batches.tokens_at_once
    while tokens > longest:
        tokens = max(longest, tokens // 2)
        changes.append({"micro_batch_tokens": tokens})
    if not config.memory.gradient_checkpointing:
        changes.append({"gradient_checkpointing": True})
    several = config.parallel.per_node * config.parallel.nodes > 1
    if several and config.parallel.sharding == "none" and _is_valid(config, sharding="zero3"):
        changes.append({"sharding": "zero3"})
    if config.adapter.tuning == "full":
        changes.append({"tuning": "lora"})
    if config.memory.dtype == "float32":
        changes.append({"dtype": "bfloat16"})
    if config.adapter.tuning != "qlora":
        shards = config.parallel.sharding != "none" or {"sharding": "zero3"} in changes
        kept = {"sharding": "none", **({"offload": "none"} if config.parallel.offload != "none" else {})}
        changes.append({"tuning": "qlora"} | (kept if shards else {}))
    length = 1 << ((longest - 1).bit_length() - 1)
    if length >= 128:
        changes.append({"max_length": length, "overlong": "truncate", "micro_batch_tokens": length})
    return list(accumulate(changes, _together))


def _is_valid(config: TrainingConfig, **options: Any) -> bool:
    """Whether the configuration with these options is one."""
    try:
        changed(config, **options)
    except UserError:
        return False
    return True


def _together(earlier: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {**earlier, **change}


@contextmanager
def named_part(part: str, config: TrainingConfig, *, longest: int | None = None) -> Iterator[None]:
    """Within the block, memory that runs out is a ``UserError`` which names ``part`` and the next setting.

    Args:
        part: What the block makes, such as "the optimizer's state".
        config: The training.
        longest: Tokens of the longest example, where it is known.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = _message(part, config, config.batches.tokens_at_once if longest is None else longest)
    else:
        return
    # Raised outside the handler: it would otherwise keep the frames, and their memory, of the error that it replaces.
    raise UserError(message)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a GPU, in torch's allocator for the CPU, or in Python."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(sign in str(error).lower() for sign in _SIGNS)


def _message(part: str, config: TrainingConfig, longest: int) -> str:
    changes = next_settings(config, longest=longest)
    advice = f"Next, try {as_options(changes[0])}" if changes else "Choose a smaller --model"
    if changes and changes[0].keys() <= CHANGES_NO_RUN:
        way = "the same command with this setting resumes from there."
    else:
        way = "another setting needs another --output."
    return (
        f"Memory ran out for {part}. {advice}; rt train --plan shows what each part takes. "
        f"{config.output} is as the last checkpoint left it; {way}"
    )


def as_options(changes: dict[str, Any]) -> str:
    """Changed fields as they are typed on the command line."""
    return shlex.join(typed_options(changes))
