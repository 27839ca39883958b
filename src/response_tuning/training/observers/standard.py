"""The observers of every training, in the order in which they look at a step."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from response_tuning.conversation import EncodedExample
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.progress import progress_bar
from response_tuning.training.checkpoint import Progress
from response_tuning.training.interruption import held_back_interruption
from response_tuning.training.observers.contract import Observer
from response_tuning.training.observers.held_out import HeldOut, HeldOutLoss
from response_tuning.training.observers.log import BarObserver, Caller, Log, open_log
from response_tuning.training.observers.perplexities import Perplexities
from response_tuning.training.observers.saving import Checkpoints, KeptAdapters
from response_tuning.training.observers.tracking import tracking
from response_tuning.training.step import Training

__all__ = ["standard_observers"]


@contextmanager
def standard_observers(
    training: Training,
    run: RunDirectory,
    progress: Progress,
    *,
    held_out: HeldOut,
    fingerprint: str,
    steps: int,
    steps_per_epoch: int,
    keep_adapter: Callable[[int], None],
    on_step: Callable[[dict[str, Any]], None],
    rows: Sequence[EncodedExample | None] = (),
) -> Iterator[list[Observer]]:
    """The observers that the configuration asks for. What is measured is logged before anything is saved.

    Args:
        training: The training.
        run: Where the log and the checkpoints go.
        progress: How far the training has come.
        held_out: What the held-out loss is measured on; may be empty.
        fingerprint: Of the data.
        steps: Of all epochs.
        steps_per_epoch: Of one.
        keep_adapter: Saves a copy of the adapter after that many steps.
        on_step: Called with every row of the log, after it is written.
        rows: Every row of the data, None for one that is dropped, to measure perplexities of; may be empty.
    """
    config, writes = training.config, training.strategy.accelerator.is_main_process
    with (
        open_log(run.training_log, rows=progress.steps, writes=writes) as log,
        progress_bar(f"training {config.method}", steps, done=progress.steps) as bar,
        tracking(config, run, progress, writes=writes) as tracked,
        held_back_interruption() as interrupted,
    ):
        observers: list[Observer] = []
        if held_out.examples:
            every = config.validation.held_out_every or steps_per_epoch
            observers.append(HeldOutLoss(training, held_out, every=every, best=run.best_weights))
        observers += [Log(log), *tracked, Caller(on_step), BarObserver(bar)]
        if config.checkpoints.keep_adapter_every:
            observers.append(KeptAdapters(keep_adapter, every=config.checkpoints.keep_adapter_every))
        if config.checkpoints.keep_perplexities and rows:
            observers.append(Perplexities(training, rows, run.path, every=steps_per_epoch))
        observers.append(Checkpoints(training, run.checkpoint, fingerprint=fingerprint, interrupted=interrupted))
        yield observers
