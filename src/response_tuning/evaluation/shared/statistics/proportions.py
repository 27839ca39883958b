"""Intervals of a proportion, and of a mean or ratio whose values have bounds.

Every function returns the bounds of a 95% interval inside [0, 1] and takes numbers or arrays of them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["NORMAL_QUANTILE", "clopper_pearson", "effective_size", "proportion_bounds", "wilson"]

Floats = NDArray[np.float64]

NORMAL_QUANTILE = 1.959963984540054
"""Of 97.5%."""

_FEW = range(9, 28)
"""Where Wilson's interval alone covers less than 90% at some proportions above 2%, because its lower bound for two
successes is too high (89.6% at n 25, p 0.022)."""
_POISSON_LOWER = 0.3553615106986622
"""The lower 95% confidence limit of a Poisson mean after two events."""
_END_WEIGHT = 0.5
"""The weight of a pseudo-observation at each end of the scale, as in Jeffreys' prior of a proportion."""


def proportion_bounds(successes: int | NDArray[np.int_], n: int) -> tuple[Floats, Floats]:
    """Wilson's score interval (1927) of ``successes`` among ``n``.

    For two successes (or failures) among 9 to 27, the bound towards them is that of a Poisson mean, after Brown, Cai &
    DasGupta (2001, section 4.1.1), who propose it for one and two among at most 50.
    """
    count = np.asarray(successes, dtype=np.float64)
    low, high = wilson(count / n, n)
    if n in _FEW:
        low = np.where(count == 2, _POISSON_LOWER / n, low)
        high = np.where(count == n - 2, 1 - _POISSON_LOWER / n, high)
    return low, high


def clopper_pearson(successes: int | NDArray[np.int_], n: int) -> tuple[Floats, Floats]:
    """The exact interval of Clopper & Pearson (1934), which covers at least 95% everywhere and mostly more."""
    from scipy.special import betaincinv

    count = np.asarray(successes, dtype=np.float64)
    low = np.where(count > 0, betaincinv(np.maximum(count, 1), n - count + 1, 0.025), 0.0)
    high = np.where(count < n, betaincinv(count + 1, np.maximum(n - count, 1), 0.975), 1.0)
    return low, high


def wilson(proportion: float | Floats, n: float | Floats) -> tuple[Floats, Floats]:
    """Wilson's score interval; ``n`` may be an effective sample size and need not be whole."""
    mean, size = np.asarray(proportion, dtype=np.float64), np.asarray(n, dtype=np.float64)
    square = NORMAL_QUANTILE**2
    centre = (mean + square / (2 * size)) / (1 + square / size)
    spread = np.sqrt(np.maximum(mean * (1 - mean), 0) / size + square / (4 * size**2))
    half = NORMAL_QUANTILE * spread / (1 + square / size)
    return np.maximum(0.0, centre - half), np.minimum(1.0, centre + half)


def effective_size(parts: Floats, wholes: Floats, *, end_weight: float = _END_WEIGHT) -> float:
    """How many independent yes-or-no observations vary as much as the ratio of these sums does.

    The variance of the ratio over units (linearised) is compared with that of a proportion (Korn & Graubard 1998).
    Both include a pseudo-unit at each end of the scale, so that units that are all alike do not count as infinitely
    many: n units that are all at one end count as n.

    Args:
        parts: of each unit, from 0 to its whole [units].
        wholes: positive [units].
        end_weight: the weight of each pseudo-unit.
    """
    whole = wholes.mean()
    n = len(parts) + 2 * end_weight
    ratio = (parts.sum() + end_weight * whole) / (wholes.sum() + 2 * end_weight * whole)
    residuals = ((parts - ratio * wholes) ** 2).sum() / whole**2
    variance = (residuals + end_weight * ((1 - ratio) ** 2 + ratio**2)) / n
    return float(len(parts) * ratio * (1 - ratio) / variance)
