"""The device that a model is loaded on."""

import torch

from response_tuning.support.errors import UserError
from response_tuning.support.options import Device

__all__ = ["pick_device"]


def pick_device(device: Device) -> torch.device:
    """The requested device; for "auto" the best of this machine: CUDA, then MPS, then the CPU.

    Raises:
        UserError: the requested device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, is_there in available.items() if is_there))
    if not available.get(device):
        raise UserError(f"This machine, or this build of torch, has no device {device!r}. Choose --device cpu or auto.")
    return torch.device(device)
