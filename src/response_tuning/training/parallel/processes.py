"""Several processes that train one model: what each computes, and what they communicate.

Every process has the same data, seed and weights, so each knows every batch without communication. It computes its own
part of a batch; the gradients are summed over processes, and every process then takes the same step. The loss of a part
is divided by the supervised tokens of the *whole* batch, so the sum is the gradient of the mean over all tokens,
however the batch is partitioned (an average of the processes' means, as DistributedDataParallel takes it, is not).

Only the first process writes and prints. In one process everything here does nothing.
"""

import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object
from torch import Tensor, distributed, nn
from torch._C._distributed_c10d import HashStore

from response_tuning.models.device import pick_device
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device
from response_tuning.support.progress import silence
from response_tuning.training.batches.batching import Unit

__all__ = [
    "any_process",
    "copy_from_first",
    "decided_by_first",
    "join_processes",
    "most_of_processes",
    "own_part",
    "process_named_in_errors",
    "require_same",
    "seed_step",
    "sum_gradients",
    "sum_over_processes",
]

_BUCKET_VALUES = 16 * 2**20
"""Gradients sent at once: few messages for an adapter, and 64 MiB of extra memory at most."""
_TIMEOUT = timedelta(hours=3)
"""How long processes wait for each other. torch's 10 minutes end a job while its first process loads or saves a large
model; a process that dies on this machine is noticed by its launcher at once."""
_LAUNCHED = (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))

Decision = TypeVar("Decision")


def join_processes(device: Device, *, offloads: bool = False) -> Accelerator:
    """Join the other processes, if a launcher started any, and keep all but the first from printing.

    Args:
        device: Where to compute.
        offloads: Whether shards live in main memory, where NCCL cannot reduce: gloo reduces them then.

    Raises:
        UserError: the device cannot be shared by several processes, or there are fewer GPUs than processes.
    """
    kind = pick_device(device).type
    processes, local_rank = (int(os.environ.get(name, default)) for name, default in _LAUNCHED)
    if processes > 1 and kind == "mps":
        raise UserError("Several processes cannot share an Apple GPU. Choose --device cpu.")
    if processes > 1 and kind == "cuda" and local_rank >= torch.cuda.device_count():
        raise UserError(
            f"There is no GPU for process {local_rank} of this machine: it has {torch.cuda.device_count()}."
        )
    if offloads and not distributed.is_initialized():
        backend = "cuda:nccl,cpu:gloo" if kind == "cuda" else "gloo"
        if processes == 1:  # a group of one, so that a single GPU can offload
            distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        elif kind == "cuda":
            torch.cuda.set_device(local_rank)
            distributed.init_process_group(backend, timeout=_TIMEOUT)  # which Accelerate takes over
    # Unless told so, Accelerate takes each process on the CPU for a single one.
    accelerator = Accelerator(cpu=kind == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=_TIMEOUT)])
    silence(not accelerator.is_main_process)
    return accelerator


@contextmanager
def process_named_in_errors(accelerator: Accelerator) -> Iterator[None]:
    """Name in every UserError the process, and its machine, that it comes from, if there are several."""
    try:
        yield
    except UserError as error:
        if accelerator.num_processes == 1:
            raise
        raise UserError(f"{_name(accelerator)}: {error}") from error


def own_part(batch: Sequence[Unit], *, process: int, processes: int) -> list[Unit]:
    """The part of a batch that one process computes, empty if there are more processes than units.

    Longest first, each unit goes to the process that has the fewest tokens so far: no process waits long for another.
    Which units these are follows from the batch alone.
    """
    if processes == 1:
        return list(batch)
    parts: list[list[Unit]] = [[] for _ in range(processes)]
    tokens = [0] * processes
    for unit in sorted(batch, key=lambda unit: -unit.tokens):
        fewest = tokens.index(min(tokens))
        parts[fewest].append(unit)
        tokens[fewest] += unit.tokens
    return parts[process]


def seed_step(accelerator: Accelerator, *, seed: int, step: int) -> None:
    """Give each process random numbers of its own for this step.

    They follow from the step, so that a checkpoint need not hold every process's random state. A single process keeps
    the random state that it has.
    """
    if accelerator.num_processes > 1:
        torch.manual_seed(random.Random(f"{seed}/{step}/{accelerator.process_index}").getrandbits(63))


def sum_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter]) -> None:
    """Sum each parameter's gradient over all processes, in place; the sums are bitwise identical in all of them.

    A parameter that has a gradient nowhere is left without one, so that the optimizer skips it.
    """
    if accelerator.num_processes == 1:
        return
    present = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=accelerator.device)
    distributed.all_reduce(present)
    wanted = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
    for bucket in _buckets(wanted):
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in bucket]
        summed = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(summed)
        parts = summed.split([gradient.numel() for gradient in gradients])
        for parameter, gradient, part in zip(bucket, gradients, parts, strict=True):
            parameter.grad = gradient.copy_(part.view_as(gradient))


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    values = 0
    for parameter in parameters:
        if bucket and values + parameter.numel() > _BUCKET_VALUES:
            yield bucket
            bucket, values = [], 0
        bucket.append(parameter)
        values += parameter.numel()
    if bucket:
        yield bucket


def sum_over_processes(accelerator: Accelerator, value: float) -> float:
    """The sum of every process's ``value``, bitwise identical in all of them."""
    if accelerator.num_processes == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=accelerator.device)
    distributed.all_reduce(total)
    return float(total)


def most_of_processes(accelerator: Accelerator, value: int) -> int:
    """The largest of every process's ``value``."""
    if accelerator.num_processes == 1:
        return value
    most = torch.tensor(value, device=accelerator.device)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    return int(most)


def any_process(accelerator: Accelerator, condition: bool) -> bool:
    """Whether ``condition`` holds in any process."""
    return sum_over_processes(accelerator, float(condition)) > 0


def copy_from_first(accelerator: Accelerator, tensors: Iterable[Tensor]) -> None:
    """Give every process the first one's values, wherever the tensors are; each of them must fit on the device."""
    if accelerator.num_processes == 1:
        return
    for tensor in tensors:
        values = tensor.detach()
        on_device = values.device.type == accelerator.device.type
        sent = values if on_device else values.to(accelerator.device)
        distributed.broadcast(sent, src=0)
        if not on_device and not accelerator.is_main_process:
            values.copy_(sent)


def decided_by_first(accelerator: Accelerator, decide: Callable[[], Decision]) -> Decision:
    """What ``decide`` returns in the first process, sent to all; what depends on files is decided by one process.

    Raises:
        UserError: the one that ``decide`` raises in the first process, in every process.
    """
    if accelerator.num_processes == 1:
        return decide()
    outcome: list[object] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = decide()
        except UserError as error:
            outcome[1] = str(error)
    decision, message = broadcast_object_list(outcome)
    if message is not None:
        raise UserError(str(message))
    return decision  # type: ignore[no-any-return]


def require_same(accelerator: Accelerator, values: Mapping[str, object]) -> None:
    """Validate that all processes have the same ``values``, named in words.

    Raises:
        UserError: one has another value than the first, because its machine has other files.
    """
    if accelerator.num_processes == 1:
        return
    everywhere = gather_object([(_name(accelerator), dict(values))])
    first, expected = everywhere[0]
    for name, found in everywhere:
        for what in expected:
            if found[what] != expected[what]:
                raise UserError(
                    f"{name} has another {what} than {first} ({found[what]!r}, not {expected[what]!r}). All machines "
                    "need the same data and model, and a run folder that they share."
                )


def _name(accelerator: Accelerator) -> str:
    return f"process {accelerator.process_index} of {accelerator.num_processes} (on {socket.gethostname()})"
