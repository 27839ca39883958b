"""One optimizer step: the objective's losses, their gradients, and what the strategy does with them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels.linear_cross_entropy import defers_overflow, overflows_unchecked
from response_tuning.support.errors import UserError
from response_tuning.training.batches.batching import IDLE, MicroBatch, Unit
from response_tuning.training.batches.packing import collated, parts_of, split
from response_tuning.training.checkpoint import Seeding
from response_tuning.training.noise import embedding_noise
from response_tuning.training.objectives.contract import Objective
from response_tuning.training.parallel.contract import Losses, Strategy
from response_tuning.training.parallel.processes import own_part, sum_over_processes
from response_tuning.training.planning.memory import named_part
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Training", "sums_over", "take_step"]


@dataclass(frozen=True)
class Training:
    """What takes part in every step."""

    config: TrainingConfig
    model: nn.Module
    """The base model, with its adapter if one is trained."""
    objective: Objective
    strategy: Strategy
    optimizer: Optimizer
    packed: bool
    """Whether micro-batches are packed rows."""
    seeding: Seeding = "independent"
    """How the seed of an epoch follows from that of the training."""

    @cached_property
    def trained(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name; the shards of this process, if the model is sharded."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @cached_property
    def loss_of(self) -> ResponseLoss:
        """The loss of supervised tokens, as it is trained."""
        smoothing, kernel = self.config.regularization.label_smoothing, self.config.memory.loss_kernel
        return ResponseLoss(self.model, label_smoothing=smoothing, kernel=kernel)

    @property
    def autocast(self) -> torch.autocast:
        """Mixed precision, if bf16 is asked for."""
        enabled = self.config.memory.dtype == "bfloat16"
        return torch.autocast(self.strategy.accelerator.device.type, torch.bfloat16, enabled=enabled)


def take_step(training: Training, batch: Sequence[Unit]) -> tuple[dict[str, float], float]:
    """Take one optimizer step.

    Returns:
        Each loss of the step by its name, and the norm of the gradients before they are clipped.

    Raises:
        UserError: one of them is not finite.
    """
    with overflows_unchecked():
        losses, norm = _attempt(training, batch)
    if not _are_finite(losses, norm) and defers_overflow(training.strategy.accelerator.device):
        losses, norm = _attempt(training, batch)  # the weights have not changed
    if not _are_finite(losses, norm):
        raise UserError(
            f"The loss became {losses['loss']} (gradient norm {norm}). Lower --learning-rate, or use --dtype float32."
        )
    return losses, norm


def _attempt(training: Training, batch: Sequence[Unit]) -> tuple[dict[str, float], float]:
    """The losses of a step and the norm of its gradients; with finite gradients, the step is taken."""
    losses = _gradients(training, batch)
    parameters, longest = list(training.trained.values()), max(unit.tokens for unit in batch)
    with named_part("the optimizer's state", training.config, longest=longest):
        max_norm = training.config.optimization.max_gradient_norm
        return losses, training.strategy.step(training.optimizer, parameters, max_norm=max_norm)


def _are_finite(losses: Mapping[str, float], norm: float) -> bool:
    return all(map(math.isfinite, (*losses.values(), norm)))


def _gradients(training: Training, batch: Sequence[Unit]) -> dict[str, float]:
    """Compute the gradients of this process's part of a step; returns each loss of the whole step.

    A loss is summed over its items and divided by their number in the whole step, so the result does not depend on how
    the step is split into micro-batches or over processes.
    """
    config, accelerator = training.config, training.strategy.accelerator
    _use_statistic(training, batch)
    weights = training.objective.weights
    counts = _counts(training.objective, batch)
    totals = torch.zeros(len(weights), device=accelerator.device)
    own = own_part(batch, process=accelerator.process_index, processes=accelerator.num_processes)
    parts = parts_of(own, tokens=config.batches.tokens_at_once, packed=training.packed)
    longest = max(unit.tokens for unit in batch)
    # Collated in the loop: a GPU computes one micro-batch while the next is collated and copied.
    for part, weight in training.strategy.passes(parts, [], training=True):
        micro_batch = collated(part, packed=training.packed) if part else IDLE
        here = MicroBatch(micro_batch.batch.to(accelerator.device), micro_batch.units)
        rows, length = here.batch.input_ids.shape
        size = f"of a micro-batch of {rows} x {length} tokens"
        # Inputs of adapter layers need no cast to fp32: autocast multiplies in bf16, with fp32 master weights. The
        # backward pass is within, since gradient checkpointing recomputes layers there.
        with disable_input_dtype_casting(training.model):
            noise = embedding_noise(training.model, here.batch, alpha=config.regularization.neftune_alpha)
            forward = named_part(f"the activations and the loss {size}", config, longest=longest)
            with forward, training.autocast, noise:
                losses = training.strategy.compute(_forward(training, here))
                means = _means(losses, counts)
                loss = _weighted(means, weights) * weight
            with named_part(f"the gradients {size}", config, longest=longest):
                accelerator.backward(loss)
        totals += weight * torch.stack([means[name] for name in weights]).detach()
    return {name: sum_over_processes(accelerator, total) for name, total in zip(weights, totals.tolist(), strict=True)}


def _use_statistic(training: Training, batch: Sequence[Unit]) -> None:
    """Give the objective the number that its losses of this step depend on as a whole, if there is one."""
    preparation = training.objective.preparation
    statistic = preparation.statistic if preparation else None
    if statistic is not None:
        units = statistic.units(batch)
        with disable_input_dtype_casting(training.model):
            sums = sums_over(training, units, lambda here: {"loss": statistic.values(training.loss_of, here)})
        statistic.use(sums["loss"] / max(1, len(units)))


@torch.no_grad()
def sums_over(
    training: Training, units: Sequence[Unit], values: Callable[[MicroBatch], Mapping[str, Tensor]]
) -> dict[str, float]:
    """The sums of some values over units, without gradients and dropout; every process computes its part.

    Args:
        training: The training, whose model computes.
        units: All of them.
        values: The values of a micro-batch; one of them is called "loss".
    """
    strategy, accelerator = training.strategy, training.strategy.accelerator
    own = own_part(units, process=accelerator.process_index, processes=accelerator.num_processes)
    work = list(split(own, tokens=training.config.batches.tokens_at_once, packed=training.packed))
    totals: dict[str, float] = {}
    training.model.eval()
    for micro_batch, weight in strategy.passes(work, IDLE, training=False):
        here = MicroBatch(micro_batch.batch.to(accelerator.device), micro_batch.units)
        with training.autocast:
            losses = strategy.compute(partial(values, here) if here.units else partial(_plain_loss, training, here))
        for name, value in losses.items():
            totals[name] = totals.get(name, 0.0) + float(value.sum()) * weight
    training.model.train()
    names = sorted({"loss", *training.objective.weights})
    return {name: sum_over_processes(accelerator, totals.get(name, 0.0)) for name in names}


def _counts(objective: Objective, batch: Sequence[Unit]) -> dict[str, int]:
    """How many items of each loss a step has, but at least one to divide by."""
    of_units = [objective.count(unit) for unit in batch]
    return {name: max(1, sum(counts[name] for counts in of_units)) for name in objective.weights}


def _forward(training: Training, micro_batch: MicroBatch) -> Callable[[], Losses]:
    """The forward pass. An idle micro-batch, whose weight is 0, needs no more than the plain loss."""
    if not micro_batch.units:
        return partial(_plain_loss, training, micro_batch)
    return partial(training.objective.losses, training.loss_of, micro_batch)


def _plain_loss(training: Training, micro_batch: MicroBatch) -> Losses:
    return {"loss": training.loss_of(micro_batch.batch)}


def _means(losses: Losses, counts: dict[str, int]) -> dict[str, Tensor]:
    """What a micro-batch adds to each loss of the step; nothing to a loss that it has no items of."""
    nothing = torch.zeros((), device=losses["loss"].device)
    return {name: losses[name].sum() / count if name in losses else nothing for name, count in counts.items()}


def _weighted(means: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The loss that the gradient is taken of. One that is only logged is left out."""
    first, *others = (weight * means[name] for name, weight in weights.items() if weight)
    return sum(others, first)
