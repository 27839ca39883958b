"""What takes the optimizer steps of a training.

The loop and its checkpoints know this much of either and nothing more.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.training.parallel.processes import sum_gradients
from response_tuning.training.parallel.sharding import clip_gradients, gathered, own_part

__all__ = ["PlainStepper", "Stepper"]


class Stepper(Protocol):
    """Takes steps with the gradients of all processes, clipped."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's groups of parameters, for the learning rate."""

    def step(self) -> float:
        """Take a step with the gradients made since the last; returns their norm before they are clipped.

        Where the norm is not finite, nothing changes.
        """

    def moments(self, parameter: nn.Parameter, *, keep: bool) -> dict[str, Tensor]:
        """The optimizer's state of a parameter by name, whole; none before the first step. All processes have to ask.

        Args:
            parameter: One that trains.
            keep: Whether this process wants it; otherwise it only gives its part, and what it gets of it is empty.
        """

    def restore(self, moments: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
        """Put the optimizer's state back, as ``moments`` gave it, and go on from the weights that are there now."""


class PlainStepper:
    """An optimizer of PyTorch's kind, whose parameters may be parts that ``fully_shard`` has made.

    Args:
        optimizer: It has all of ``parameters``.
        parameters: What trains.
        max_gradient_norm: Longer gradients are scaled down to it.
        accelerator: Its processes' gradients are added up; None where that happens as they are made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        parameters: Sequence[nn.Parameter],
        *,
        max_gradient_norm: float,
        accelerator: Accelerator | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._parameters = parameters
        self._max_gradient_norm = max_gradient_norm
        self._accelerator = accelerator

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """See ``Stepper``."""
        return self._optimizer.param_groups

    def step(self) -> float:
        """See ``Stepper``."""
        if self._accelerator is not None:
            sum_gradients(self._accelerator, self._parameters)
        norm = clip_gradients(self._parameters, self._max_gradient_norm)
        if math.isfinite(norm):
            self._optimizer.step()
        self._optimizer.zero_grad()
        return norm

    def moments(self, parameter: nn.Parameter, *, keep: bool) -> dict[str, Tensor]:
        """See ``Stepper``."""
        return {
            moment: gathered(value if isinstance(value, Tensor) else torch.tensor(value), keep=keep)
            for moment, value in self._optimizer.state[parameter].items()
        }

    def restore(self, moments: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
        """See ``Stepper``."""
        for parameter, state in moments.items():
            for moment, tensor in state.items():
                self._optimizer.state[parameter][moment] = _as_kept(self._optimizer, parameter, moment, tensor)


def _as_kept(optimizer: Optimizer, parameter: nn.Parameter, moment: str, tensor: Tensor) -> Tensor | int:
    """A value of the optimizer's state, as the optimizer keeps it."""
    if moment == "step":
        # AdamW counts in a tensor on the CPU, the paged one in an int.
        return tensor if tensor.is_floating_point() else int(tensor)
    if hasattr(optimizer, "get_state_buffer"):
        buffer: Tensor = optimizer.get_state_buffer(parameter)
        return buffer.copy_(tensor)
    return own_part(tensor, parameter)
