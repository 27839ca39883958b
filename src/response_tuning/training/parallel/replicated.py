"""One process, or several that each hold the whole model and sum their gradients."""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.models.load import LoadedModel
from response_tuning.training.optimizer import clip_and_step, gradient_norm
from response_tuning.training.parallel.contract import Decision, Losses, Work
from response_tuning.training.parallel.processes import copy_from_first, sum_gradients
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import load_base

__all__ = ["Replicated"]


class Replicated:
    """A ``Strategy`` without shards. In one process, every method does the plain thing."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    @property
    def saves(self) -> bool:
        """See ``Strategy``."""
        return bool(self.accelerator.is_main_process)

    def load(self, config: TrainingConfig) -> LoadedModel:
        """See ``Strategy``."""
        return load_base(config.model, config.adapter.tuning, dtype=config.memory.dtype, device=config.memory.device)

    def decide(self, model: nn.Module, trial: Callable[[], Decision]) -> Decision:  # noqa: ARG002
        """See ``Strategy``."""
        return trial()

    def wrap(self, model: nn.Module) -> None:
        """See ``Strategy``. Machines may have drawn different random numbers from one seed."""
        copy_from_first(self.accelerator, [weight for weight in model.parameters() if weight.requires_grad])

    def passes(self, work: Sequence[Work], idle: Work, *, training: bool) -> Iterator[tuple[Work, float]]:  # noqa: ARG002
        """See ``Strategy``."""
        return zip(work, repeat(1.0))

    def compute(self, forward: Callable[[], Losses]) -> Losses:
        """See ``Strategy``."""
        return forward()

    def step(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], *, max_norm: float) -> float:
        """See ``Strategy``."""
        sum_gradients(self.accelerator, parameters)
        return clip_and_step(optimizer, parameters, gradient_norm(parameters), max_norm=max_norm)

    def gather(self, tensor: Tensor, *, keep: bool) -> Tensor:  # noqa: ARG002
        """See ``Strategy``."""
        return tensor.detach()

    def shard(self, whole: Tensor, like: Tensor) -> Tensor:
        """See ``Strategy``."""
        return whole.to(like.device)

    def state_dict(self, model: nn.Module, *, keep: bool, dtype: torch.dtype | None) -> None:
        """See ``Strategy``. The model is whole."""
