"""Logs every step to a tracker, and remembers the tracker's run in each checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import flatten
from response_tuning.training.checkpoint import Progress
from response_tuning.training.observers.contract import Observer, Step
from response_tuning.training.trackers.contract import Place, Started
from response_tuning.training.trackers.registry import find_tracker
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Tracked", "tracking"]

_LOCAL = frozenset({"output", "plan", "tracker", "tracker_project"})
"""Options that are no property of a training."""


class Tracked:
    """Logs the numbers of each step, under the names of ``training.jsonl``.

    Args:
        started: the tracker's open run.
        name: of the tracker.
    """

    def __init__(self, started: Started, name: str) -> None:
        self._started = started
        self._name = name

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        self._started.tracker.log(_numbers(step.row), step=step.progress.steps)
        step.progress = replace(step.progress, tracker=self._name, tracker_run=self._started.run_id)


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }


@contextmanager
def tracking(
    config: TrainingConfig, run: RunDirectory, progress: Progress, *, writes: bool
) -> Iterator[list[Observer]]:
    """The observer for ``--tracker``, if one is asked for; its run is closed however the training ends.

    Args:
        config: the training.
        run: its folder.
        progress: how far it has come, with the tracker's run of the checkpoint.
        writes: whether this process logs; one does.
    """
    name = config.tracking.tracker
    if name == "none" or not writes:
        yield []
        return
    started = find_tracker(name).start(
        Place(
            project=config.tracking.tracker_project,
            name=run.path.absolute().name,
            folder=run.path / "tracker",
            run_id=progress.tracker_run if progress.tracker == name else "",
            steps=progress.steps,
            configuration={key: value for key, value in flatten(config, mode="json").items() if key not in _LOCAL},
        )
    )
    try:
        yield [Tracked(started, name)]
    finally:
        started.tracker.finish()
