"""The loop of a training: take a step with each batch, and let the observers look at it.

Read from the top: ``run_steps`` is the loop; ``step.take_step`` is one optimizer step.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from response_tuning.conversation import EncodedExample
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import Unit
from response_tuning.training.checkpoint import Progress, Seeding, data_fingerprint, restore_checkpoint
from response_tuning.training.observers.contract import Step
from response_tuning.training.observers.held_out import HeldOut, keep_best, stops_early
from response_tuning.training.observers.standard import standard_observers
from response_tuning.training.optimizer import learning_rate_factor, set_learning_rate
from response_tuning.training.parallel.processes import require_same, seed_step
from response_tuning.training.step import Training, take_step

__all__ = ["run_steps"]


def run_steps(
    training: Training,
    examples: Sequence[EncodedExample],
    held_out: HeldOut,
    run: RunDirectory,
    keep_adapter: Callable[[int], None],
    on_step: Callable[[dict[str, Any]], None],
    rows: Sequence[EncodedExample | None] = (),
) -> None:
    """Run all optimizer steps, from the last checkpoint on.

    Stops early if the held-out loss does not fall any more, and leaves the weights to save in the model.

    Args:
        training: What takes part.
        examples: The examples to train on, as the objective has arranged them.
        held_out: What the held-out loss is measured on; may be empty.
        run: Where the log and the checkpoints go.
        keep_adapter: Saves a copy of the adapter after that many steps; called as often as the configuration asks for.
        on_step: Called with every row of the log, after it is written.
        rows: Every row of the data, None for one that is dropped, where perplexities may be kept.

    Raises:
        UserError: the checkpoint is of other data, or the loss is not finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    fingerprint = data_fingerprint([*examples, *held_out.examples])
    training, progress = _resume(training, run, fingerprint)
    config, strategy = training.config, training.strategy
    steps_per_epoch = len(_batches(training, examples, epoch=0))
    steps = config.batches.epochs * steps_per_epoch
    training.model.train()
    started = time.perf_counter() - progress.seconds
    with standard_observers(
        training,
        run,
        progress,
        held_out=held_out,
        fingerprint=fingerprint,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        keep_adapter=keep_adapter,
        on_step=on_step,
        rows=rows,
    ) as observers:
        for epoch, batch in islice(_all_batches(training, examples), progress.steps, None):
            if stops_early(progress, config.validation):
                break
            learning_rate = _set_learning_rate(training, progress.steps, steps=steps)
            seed_step(strategy.accelerator, seed=config.seed, step=progress.steps)
            losses, norm = take_step(training, batch)
            progress = _advanced(progress, batch, seconds=time.perf_counter() - started)
            step = Step(_row(epoch, progress, losses, norm, learning_rate), progress, progress.steps == steps)
            for observer in observers:
                observer.after_step(step)
            progress = step.progress
    strategy.accelerator.wait_for_everyone()  # until the first has written the best weights
    if strategy.saves:
        keep_best(training, progress, run.best_weights, steps=steps, unit=held_out.unit)


def _resume(training: Training, run: RunDirectory, fingerprint: str) -> tuple[Training, Progress]:
    """Restore the last checkpoint, if there is one; returns the training as it was, and how far it had come."""
    strategy = training.strategy
    progress = restore_checkpoint(
        run.checkpoint, training.trained, training.optimizer, strategy=strategy, fingerprint=fingerprint
    )
    require_same(strategy.accelerator, {"data": fingerprint, "checkpoint": progress.steps})
    if not progress.steps:
        return training, replace(progress, packing="on" if training.packed else "off", seeding=training.seeding)
    wanted = training.config.batches.packing
    packing = progress.packing if wanted == "auto" else wanted
    say(f"resuming after step {progress.steps}, with packing {packing}")
    return replace(training, packed=packing == "on", seeding=progress.seeding), replace(progress, packing=packing)


def _all_batches(training: Training, examples: Sequence[EncodedExample]) -> Iterator[tuple[int, Sequence[Unit]]]:
    """The epoch (from 1) and the units of every optimizer step."""
    for epoch in range(training.config.batches.epochs):
        yield from ((epoch + 1, batch) for batch in _batches(training, examples, epoch=epoch))


def _batches(training: Training, examples: Sequence[EncodedExample], *, epoch: int) -> Sequence[Sequence[Unit]]:
    config = training.config
    seed = _epoch_seed(config.seed, epoch, training.seeding)
    return training.objective.batches(examples, batch_size=config.batches.batch_size, seed=seed)


def _epoch_seed(seed: int, epoch: int, seeding: Seeding) -> int:
    """The seed of an epoch's order, which no other epoch of any other seed has.

    Earlier versions added the two, so that each seed saw the orders of the next one, an epoch later. A training that
    was begun so is completed so.
    """
    if seeding == "sum":
        return seed + epoch
    return random.Random(f"order/{seed}/{epoch}").getrandbits(63)


def _set_learning_rate(training: Training, step: int, *, steps: int) -> float:
    """Set the learning rate of a step (from 0), and return it."""
    options = training.config.optimization
    learning_rate = options.learning_rate * learning_rate_factor(step, steps=steps, options=options)
    set_learning_rate(training.optimizer.param_groups, learning_rate)
    return learning_rate


def _advanced(progress: Progress, batch: Sequence[Unit], *, seconds: float) -> Progress:
    tokens = progress.supervised_tokens + sum(unit.supervised_count for unit in batch)
    return replace(progress, steps=progress.steps + 1, supervised_tokens=tokens, seconds=seconds)


def _row(epoch: int, progress: Progress, losses: dict[str, float], norm: float, learning_rate: float) -> dict[str, Any]:
    """A step's row of the training log."""
    return {
        "step": progress.steps,
        "epoch": epoch,
        **losses,
        "gradient_norm": norm,
        "learning_rate": learning_rate,
        "supervised_tokens": progress.supervised_tokens,
        "seconds": round(progress.seconds, 3),
    }
