"""Win rates against a reference: the mean preference of a judge, with alpaca_eval's standard error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.alpaca.alpaca_format import Annotation
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.errors import UserError

__all__ = ["ALPACA_EVAL_SIZE", "WinRate", "judged_annotations", "preferences_of", "standard_error", "win_rate"]

ALPACA_EVAL_SIZE = 805
"""The number of instructions of AlpacaEval."""

Vector = NDArray[np.float64]

_SCALE = (0.0, 1.0)


@dataclass(frozen=True)
class WinRate:
    """How often a judge prefers a model's response to the reference's."""

    estimate: Estimate
    """The mean preference, from 0 to 1."""
    standard_error: float
    """The standard error of the mean preference: the sample standard deviation over the square root of n."""
    wins: int
    losses: int
    draws: int

    @property
    def discrete(self) -> float:
        """The proportion of wins, with a draw as half a win."""
        return (self.wins + self.draws / 2) / self.estimate.n


def win_rate(annotations: Sequence[Annotation], *, expected: int = ALPACA_EVAL_SIZE) -> WinRate:
    """The win rate of ``generator_2`` over ``generator_1``.

    Args:
        annotations: one verdict per instruction; those without a preference are not counted.
        expected: the minimum number of preferences.

    Raises:
        UserError: there are fewer preferences than expected.
    """
    preferences = preferences_of(judged_annotations(annotations, expected))
    return WinRate(
        estimate_mean(preferences.tolist(), bounds=_SCALE),
        standard_error(preferences),
        wins=int((preferences > 0.5).sum()),
        losses=int((preferences < 0.5).sum()),
        draws=int((preferences == 0.5).sum()),
    )


def standard_error(values: Sequence[float] | Vector) -> float:
    """The standard error of a mean, with the sample standard deviation (n - 1); 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def judged_annotations(annotations: Sequence[Annotation], expected: int) -> list[Annotation]:
    """The annotations with a preference.

    Raises:
        UserError: there are fewer than ``expected``, or none.
    """
    judged = [annotation for annotation in annotations if annotation.preference is not None]
    if len(judged) < expected:
        raise UserError(
            f"Only {len(judged)} of {expected} instructions have a verdict ({len(annotations) - len(judged)} of "
            f"{len(annotations)} verdicts could not be parsed). A win rate over fewer instructions is not comparable: "
            "judge the missing ones, or allow them with --allow-unparsed."
        )
    if not judged:
        raise UserError("There are no verdicts.")
    return judged


def preferences_of(judged: Sequence[Annotation]) -> Vector:
    """The preferences for the model, from 0 to 1; all of them must have one."""
    return np.array([annotation.model_preference for annotation in judged], dtype=np.float64)
