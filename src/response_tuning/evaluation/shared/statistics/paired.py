"""The score interval of a difference of paired proportions (Tango 1998)."""

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.proportions import NORMAL_QUANTILE

__all__ = ["tango"]

Floats = NDArray[np.float64]

_HALVINGS = 40
"""Each halves the uncertainty of a bound: 2 / 2**40 is below 1e-11."""


def tango(gained: int | NDArray[np.int_], lost: int | NDArray[np.int_], n: int) -> tuple[Floats, Floats]:
    """The bounds of (gained - lost) / n: the differences that a score test at 5% does not reject.

    Args:
        gained: pairs with a success on the first side alone; a number, or an array of them.
        lost: pairs with a success on the second side alone.
        n: all pairs.
    """
    first, second = np.asarray(gained, dtype=np.float64), np.asarray(lost, dtype=np.float64)
    high = _upper(first, second, n)
    low = -_upper(second, first, n)
    return low, high


def _upper(gained: Floats, lost: Floats, n: int) -> Floats:
    """The largest difference that is not rejected, by bisection: the score falls as the difference grows."""
    low, high = (gained - lost) / n, np.ones_like(gained)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_rejected = _score(gained, lost, n, middle) < -NORMAL_QUANTILE
        low, high = np.where(is_rejected, low, middle), np.where(is_rejected, middle, high)
    return np.where(gained == n, 1.0, low)


def _score(gained: Floats, lost: Floats, n: int, difference: Floats) -> Floats:
    """The score statistic of a difference, with the other parameter at its maximum likelihood."""
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1 - difference)
    # The probability of a loss, given the difference.
    loss = (np.sqrt(np.maximum(b * b - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * loss + difference * (1 - difference))
    score: Floats = (gained - lost - n * difference) / np.sqrt(np.maximum(variance, 1e-300))
    return score
