"""What is saved on the way: adapters that are kept, and checkpoints, one of them when training is interrupted."""

import time
from collections.abc import Callable
from pathlib import Path

from response_tuning.training.checkpoint import save_checkpoint
from response_tuning.training.observers.contract import Step
from response_tuning.training.parallel.processes import any_process
from response_tuning.training.step import Training

__all__ = ["Checkpoints", "KeptAdapters"]

_SAVING_FRACTION = 0.05
"""Of the time, at most this much is spent saving: the state of a large model takes minutes to write."""


class KeptAdapters:
    """Keeps a copy of the adapter every N steps, but not after the last one, when it is saved anyway."""

    def __init__(self, keep: Callable[[int], None], *, every: int) -> None:
        self._keep = keep
        self._every = every

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        if step.progress.steps % self._every == 0 and not step.is_last:
            self._keep(step.progress.steps)


class Checkpoints:
    """Saves a checkpoint every N seconds, and when training is interrupted.

    Args:
        training: The training.
        path: The last checkpoint's file.
        fingerprint: Of the data.
        interrupted: Whether this process was asked to stop.
    """

    def __init__(self, training: Training, path: Path, *, fingerprint: str, interrupted: Callable[[], bool]) -> None:
        self._training = training
        self._path = path
        self._fingerprint = fingerprint
        self._interrupted = interrupted
        self._last_saved = time.perf_counter()
        self._interval = training.config.checkpoints.checkpoint_every_seconds
        """The seconds between two checkpoints."""

    def _interval_after(self, seconds: float) -> float:
        """The interval to the next checkpoint, where the last one took ``seconds``."""
        asked = self._training.config.checkpoints.checkpoint_every_seconds
        return max(asked, seconds / _SAVING_FRACTION - seconds) if asked else 0.0

    def after_step(self, step: Step) -> None:
        """See ``Observer``. All processes save together, since each may have a shard to give."""
        accelerator, options = self._training.strategy.accelerator, self._training.config.checkpoints
        stop = any_process(accelerator, self._interrupted())
        is_time = time.perf_counter() - self._last_saved >= self._interval
        if any_process(accelerator, stop or is_time):
            started = time.perf_counter()
            save_checkpoint(
                self._path,
                self._training.trained,
                self._training.optimizer,
                step.progress,
                strategy=self._training.strategy,
                fingerprint=self._fingerprint,
                keep=options.keep_checkpoints,
            )
            self._last_saved = time.perf_counter()
            self._interval = self._interval_after(self._last_saved - started)
        if stop:
            accelerator.wait_for_everyone()  # until the first has saved
            raise KeyboardInterrupt
