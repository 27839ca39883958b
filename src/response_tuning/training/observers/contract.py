"""What an observer is: what a training does after each step, beside training."""

from dataclasses import dataclass
from typing import Any, Protocol

from response_tuning.training.checkpoint import Progress

__all__ = ["Observer", "Step"]


@dataclass
class Step:
    """A step that was taken."""

    row: dict[str, Any]
    """Its row of the training log, which observers may add to before it is logged."""
    progress: Progress
    """How far the training has come with it."""
    is_last: bool
    """Whether it is the last one of the last epoch."""


class Observer(Protocol):
    """Called after each step, in every process. The smallest example::

    class PrintLoss:
        def after_step(self, step):
            print(step.row["loss"])
    """

    def after_step(self, step: Step) -> None:
        """Look at a step.

        Raises:
            KeyboardInterrupt: to interrupt the training; it can be resumed from its last checkpoint.
        """
