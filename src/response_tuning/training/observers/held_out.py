"""The loss on held-out examples: which weights are best, and when training has stopped helping."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import collate, length_sorted_groups
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import IDLE, Unit, units
from response_tuning.training.checkpoint import Progress
from response_tuning.training.observers.contract import Step
from response_tuning.training.parallel.contract import Strategy
from response_tuning.training.parallel.processes import own_part, sum_over_processes
from response_tuning.training.step import Training, sums_over
from response_tuning.training.training_config import ValidationOptions

__all__ = ["HeldOut", "HeldOutLoss", "held_out_loss", "keep_best", "objective_losses", "stops_early"]


@dataclass(frozen=True)
class HeldOut:
    """What is held out of a training; may be empty."""

    examples: Sequence[EncodedExample]
    units: Sequence[Unit] | None = None
    """What the objective's own losses are computed on; None where the likelihood of the examples is measured."""

    @property
    def unit(self) -> str:
        """What the loss is counted by, in words."""
        return "nats a token" if self.units is None else "a pair"


class HeldOutLoss:
    """Measures the loss on held-out examples, and keeps the weights of the lowest.

    Args:
        training: The training.
        held_out: What to measure on, not empty.
        every: How many steps from one measurement to the next; it is measured after the last step, too.
        best: Where to keep the weights.
    """

    def __init__(self, training: Training, held_out: HeldOut, *, every: int, best: Path) -> None:
        self._training = training
        self._held_out = held_out
        self._every = every
        self._best = best

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        if step.progress.steps % self._every and not step.is_last:
            return
        measured = self._measure()
        step.row |= {f"held_out_{name}": value for name, value in measured.items()}
        if "accuracy" in measured and self._held_out.units is not None:
            step.row["held_out_accuracy_interval"] = _interval(measured["accuracy"], len(self._held_out.units))
        loss = measured["loss"]
        if step.progress.best_loss is not None and loss >= step.progress.best_loss:
            step.progress = replace(step.progress, since_best=step.progress.since_best + 1)
            return
        _save_best(self._best, self._training.trained, self._training.strategy)
        step.progress = replace(step.progress, best_step=step.progress.steps, best_loss=loss, since_best=0)

    def _measure(self) -> dict[str, float]:
        """Each loss by its name, "loss" first; each process measures its part."""
        with disable_input_dtype_casting(self._training.model):
            if self._held_out.units is not None:
                return objective_losses(self._training, self._held_out.units)
            return {"loss": self._per_token(self._held_out.examples)}

    def _per_token(self, examples: Sequence[EncodedExample]) -> float:
        training, accelerator = self._training, self._training.strategy.accelerator
        part = own_part(units(examples), process=accelerator.process_index, processes=accelerator.num_processes)
        own = [example for unit in part for example in unit.examples]
        mean = held_out_loss(
            training.model,
            own,
            tokens_at_once=training.config.batches.tokens_at_once,
            autocast=training.autocast,
            strategy=training.strategy,
        )
        total = mean * sum(example.supervised_count for example in own)
        return sum_over_processes(accelerator, total) / sum(example.supervised_count for example in examples)


def _interval(proportion: float, count: int) -> list[float]:
    """The 95% confidence interval of a proportion (Wilson)."""
    from scipy.stats import binomtest  # half a second, which other trainings need not wait for

    bounds = binomtest(round(proportion * count), count).proportion_ci(method="wilson")
    return [float(bounds.low), float(bounds.high)]


def objective_losses(training: Training, held_out: Sequence[Unit]) -> dict[str, float]:
    """The objective's losses of held-out units, without dropout, noise or label smoothing; all processes measure.

    Nothing random is drawn, so measuring does not change the training.
    """
    objective, loss_of = training.objective, ResponseLoss(training.model)
    counts = [objective.count(unit) for unit in held_out]
    sums = sums_over(training, held_out, lambda here: objective.losses(loss_of, here))
    return {name: sums[name] / max(1, sum(count[name] for count in counts)) for name in objective.weights}


@torch.no_grad()
def held_out_loss(
    model: nn.Module,
    examples: Sequence[EncodedExample],
    *,
    tokens_at_once: int,
    autocast: torch.autocast,
    strategy: Strategy,
) -> float:
    """The negative log-likelihood per supervised token, in nats, without dropout, noise or label smoothing.

    Nothing random is drawn, so measuring does not change the training.

    Args:
        model: The model.
        examples: What this process measures; the loss of no examples is 0.
        tokens_at_once: The most tokens, padding counted, to compute at once.
        autocast: The precision of matmuls.
        strategy: How the processes hold the model; all of them have to measure.
    """
    loss_of = ResponseLoss(model)
    total = 0.0
    model.eval()
    groups = length_sorted_groups(examples, tokens=tokens_at_once)
    batches = [collate([examples[index] for index in group]) for group in groups]
    for batch, weight in strategy.passes(batches, IDLE.batch, training=False):
        here = batch.to(strategy.accelerator.device)
        with autocast:
            losses = strategy.compute(lambda here=here: {"loss": loss_of(here)})  # type: ignore[misc]
            total += float(losses["loss"].sum()) * weight
    model.train()
    return total / max(1, sum(example.supervised_count for example in examples))


def stops_early(progress: Progress, validation: ValidationOptions) -> bool:
    """Whether the held-out loss has not fallen for as many measurements as ``--patience`` allows."""
    return bool(validation.patience) and progress.since_best >= validation.patience


def keep_best(training: Training, progress: Progress, best: Path, *, steps: int, unit: str = "nats a token") -> None:
    """Leave the weights that are to be saved in the model, and log which they are.

    Args:
        training: The training, which has ended.
        progress: How far it came.
        best: Where the best weights are kept.
        steps: How many steps it would have taken at most.
        unit: Of the held-out loss.
    """
    if progress.best_loss is None:
        return
    if progress.steps < steps:
        say(f"stopped early, after step {progress.steps} of {steps}")
    say(f"the held-out loss was lowest, {progress.best_loss:.4f} {unit}, after step {progress.best_step}")
    if training.config.validation.keep == "best" and progress.best_step < progress.steps:
        _load_best(best, training.trained, training.strategy)
        say("its weights are kept")


def _save_best(best: Path, trained: dict[str, nn.Parameter], strategy: Strategy) -> None:
    """Gather the weights; the first process writes them to ``best``, atomically."""
    writes = strategy.accelerator.is_main_process
    weights = {name: strategy.gather(parameter, keep=writes) for name, parameter in trained.items()}
    if writes:
        _write(best, weights)


def _write(best: Path, weights: dict[str, Tensor]) -> None:
    temporary = best.with_name(f".{best.name}.partial")
    best.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(weights, temporary)
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"The best weights {best} cannot be written: {error}") from error
    temporary.replace(best)


def _load_best(best: Path, trained: dict[str, nn.Parameter], strategy: Strategy) -> None:
    """Replace the last weights by those of the lowest held-out loss."""
    try:
        tensors = load_file(best)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The best weights {best} cannot be read ({error}). Delete the run folder to repeat it."
        ) from error
    for name, parameter in trained.items():
        parameter.data.copy_(strategy.shard(tensors[name], parameter))
