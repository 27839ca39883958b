"""What a tracker is: a program that draws the curves of trainings, such as TensorBoard."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Place", "Started", "Tracker", "TrackerKind"]


class Tracker(Protocol):
    """What Accelerate's trackers have in common (``accelerate.tracking.GeneralTracker``)."""

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        """Log numbers of a step."""

    def finish(self) -> None:
        """Write what is buffered, and close the run."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which run is tracked, and where."""

    project: str
    """What the tracker shows together."""
    name: str
    """The run's."""
    folder: Path
    """For what the tracker writes: ``tracker`` in the run folder."""
    run_id: str
    """The tracker's own id of the run, from the checkpoint that is resumed; empty for a new run."""
    steps: int
    """The steps in that checkpoint. Later ones may be logged already, and will be repeated."""
    configuration: Mapping[str, Any]
    """The options of the training, by name."""


@dataclass(frozen=True)
class Started:
    """A run that is open in a tracker."""

    tracker: Tracker
    run_id: str
    """Kept in checkpoints, so that a resumed training continues the same curve."""


@dataclass(frozen=True)
class TrackerKind:
    """A kind of tracker. The smallest one::

    PRINT = TrackerKind(package="json", start=lambda place: Started(PrintTracker(), run_id="any"))
    """

    package: str
    """What has to be installed, by the name that it is imported by."""
    start: Callable[[Place], Started]
    """Opens a new run, or the one with ``run_id`` again."""
