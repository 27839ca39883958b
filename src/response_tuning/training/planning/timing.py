"""How long work takes on a device, and the rate of matmuls there to compare it with."""

import time
from collections.abc import Callable
from functools import partial

import torch

__all__ = ["matmul_rates", "seconds_of"]

_CPU_SHAPES = ((2048, 2048, 2048), (1024, 640, 2048), (1024, 640, 4096))
_GPU_SHAPES = ((8192, 8192, 8192), (8192, 4096, 16384))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The seconds that ``work`` takes, until ``device`` has finished it."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def matmul_rates(device: torch.device, dtype: torch.dtype, *, seconds: float) -> list[float]:
    """The rate of matmuls of several shapes, in operations per second, each measured for its part of ``seconds``.

    A multiplication and its addition are two operations. It is the mean rate and not that of the fastest matmul:
    whatever else slows the machine down slows a training and its matmuls down alike.
    """
    shapes = _CPU_SHAPES if device.type == "cpu" else _GPU_SHAPES
    rates = []
    for rows, inner, columns in shapes:
        left = torch.randn((rows, inner), device=device).to(dtype)
        right = torch.randn((inner, columns), device=device).to(dtype)
        matmul = partial(torch.matmul, left, right)
        seconds_of(matmul, device)  # warms up
        taken, count = 0.0, 0
        while taken < seconds / len(shapes):
            taken += seconds_of(matmul, device)
            count += 1
        rates.append(2 * rows * inner * columns * count / taken)
    return rates


def _wait(device: torch.device) -> None:
    """Kernels of a GPU run asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
