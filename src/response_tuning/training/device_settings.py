"""Settings of torch that hold for one training: TF32, and deterministic kernels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from response_tuning.training.training_config import MemoryOptions

__all__ = ["device_settings"]

_CUBLAS_VARIABLE, _CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""cuBLAS is deterministic with workspaces of its own for each stream; it reads the variable once."""


@contextmanager
def device_settings(memory: MemoryOptions, device: torch.device) -> Iterator[None]:
    """Compute as ``memory`` says on ``device`` within this context. On a CPU, everything is deterministic already."""
    if device.type != "cuda":
        yield
        return
    tf32 = torch.backends.cuda.matmul.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cuda.matmul.allow_tf32 = memory.tf32
    if memory.deterministic:
        os.environ.setdefault(_CUBLAS_VARIABLE, _CUBLAS_WORKSPACE)
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
