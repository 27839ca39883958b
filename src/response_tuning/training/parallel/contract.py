"""What a strategy is: how processes hold one model, and take steps with it together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.models.load import LoadedModel
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Decision", "Losses", "Strategy", "Work"]

Decision = TypeVar("Decision")
Work = TypeVar("Work")
Losses = Mapping[str, Tensor]


class Strategy(Protocol):
    """How processes load one model, hold it, step with it and gather it to be saved. ``Replicated`` is the smallest.

    All processes call all methods, in the same order, except where ``saves`` is false. In "whole" tensors
    nothing is sharded, so a checkpoint of one strategy and number of processes resumes in any other.
    """

    @property
    def accelerator(self) -> Accelerator:
        """The processes, and the device of this one."""

    @property
    def saves(self) -> bool:
        """Whether this process is needed when the trained weights are restored for saving, and saved."""

    def load(self, config: TrainingConfig) -> LoadedModel:
        """Load the base model, or as much of it as this process needs.

        Raises:
            UserError: there is no such model, or it cannot be loaded in this way.
        """

    def decide(self, model: nn.Module, trial: Callable[[], Decision]) -> Decision:
        """What a ``trial`` of the loaded model decides, the same in all processes."""

    def wrap(self, model: nn.Module) -> None:
        """Give all processes the first one's model, adapter included, and shard it if that is the strategy.

        Raises:
            UserError: the model cannot be sharded.
        """

    def passes(self, work: Sequence[Work], idle: Work, *, training: bool) -> Iterator[tuple[Work, float]]:
        """What this process computes in a step or a measurement, each with its weight.

        Args:
            work: What there is to compute.
            idle: What to compute, with weight 0, where other processes have more and all have to take part.
            training: Whether a backward pass follows each forward pass.
        """

    def compute(self, forward: Callable[[], Losses]) -> Losses:
        """Run a forward pass through the model."""

    def step(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], *, max_norm: float) -> float:
        """Take a step with the summed gradients of all processes, clipped to ``max_norm``.

        Returns:
            The norm of the gradients before they are clipped. Where it is not finite, the weights do not change.
        """

    def gather(self, tensor: Tensor, *, keep: bool) -> Tensor:
        """The whole of a parameter or of its optimizer state; in main memory, if it is sharded.

        Args:
            tensor: The shard of this process, or a tensor that is not sharded.
            keep: Whether this process needs it; if not, it may get an empty tensor.
        """

    def shard(self, whole: Tensor, like: Tensor) -> Tensor:
        """This process's shard of a whole tensor, sharded and placed as ``like``. Processes do not communicate."""

    def state_dict(self, model: nn.Module, *, keep: bool, dtype: torch.dtype | None) -> dict[str, Tensor] | None:
        """The whole state to save; None where the model can be saved as it is.

        Args:
            model: The model; of one with an adapter, the adapter.
            keep: Whether this process needs it.
            dtype: What weights are converted to, if they are.
        """
