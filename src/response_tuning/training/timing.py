"""How long work takes on a device, and the rate of matrix products there to compare it with."""

import time
from collections.abc import Callable

import torch

__all__ = ["matrix_product_peak", "seconds_of"]

_CPU_SHAPES = ((2048, 2048, 2048), (1024, 640, 2048), (1024, 640, 4096))
_GPU_SHAPES = ((8192, 8192, 8192), (8192, 4096, 16384))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The seconds that ``work`` takes, until ``device`` has done all that it was given."""
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def matrix_product_peak(device: torch.device, dtype: torch.dtype, *, seconds: float) -> float:
    """The best rate of matrix products over several shapes, in operations per second.

    A multiplication and its addition are two operations. Every shape is measured for its part of ``seconds``.
    """
    best = 0.0
    shapes = _CPU_SHAPES if device.type == "cpu" else _GPU_SHAPES
    for rows, inner, columns in shapes:
        left = torch.randn((rows, inner), device=device).to(dtype)
        right = torch.randn((inner, columns), device=device).to(dtype)
        ended = time.perf_counter() + seconds / len(shapes)
        while time.perf_counter() < ended:
            best = max(best, 2 * rows * inner * columns / seconds_of(lambda: left @ right, device))  # noqa: B023
    return best


def _wait(device: torch.device) -> None:
    """Kernels of a GPU run on after the call that starts them."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
