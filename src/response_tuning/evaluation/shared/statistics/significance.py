"""Tests of paired differences, their correction for a family of them, and what a sample can show."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.proportions import NORMAL_QUANTILE

__all__ = ["holm", "mcnemar", "minimal_detectable_difference", "paired_p_value"]

_FLIPS = 10_000
_FLIPS_AT_ONCE = 1_000_000


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p value of McNemar's test (1947): do as many pairs gain as lose?

    Args:
        gained: pairs with a success on the first side alone.
        lost: pairs with a success on the second side alone.
    """
    from scipy.special import bdtr

    discordant = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), discordant, 0.5))) if discordant else 1.0


def paired_p_value(values: Sequence[tuple[float, float]], baseline: Sequence[tuple[float, float]]) -> float:
    """The two-sided p value of a paired difference, given as to ``estimate_difference``.

    Proportions: exact McNemar. Any others: a permutation test that swaps the sides of random pairs, 10,000 times with a
    fixed seed.

    Raises:
        ValueError: there are no units, or their numbers differ.
    """
    if not values or len(values) != len(baseline):
        raise ValueError("a paired test needs the same number of units on both sides, and at least one")
    first, second = (np.asarray(side, dtype=np.float64) for side in (values, baseline))
    parts = np.column_stack([first[:, 0], second[:, 0]])
    if (first[:, 1] == 1).all() and (second[:, 1] == 1).all() and ((parts == 0) | (parts == 1)).all():
        return mcnemar(int((parts[:, 0] > parts[:, 1]).sum()), int((parts[:, 0] < parts[:, 1]).sum()))
    return _permutation_p(first, second)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family of tests, adjusted by Holm's step-down method (1979), in the given order."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def minimal_detectable_difference(
    n: int, discordant: float, *, power: float = 0.8, are_proportions: bool = True
) -> float:
    """The smallest true paired difference that ``n`` pairs show at the 5% level with this probability.

    After Connor (1987), for McNemar's test; the normal approximation, so for n of 20 or more.

    Args:
        n: pairs.
        discordant: the proportion of pairs that differ; for values other than 0 and 1, the mean squared difference.
        power: the wanted probability.
        are_proportions: whether all values are 0 or 1.

    Returns:
        The difference. Proportions cannot differ by more than ``discordant``: if that is returned, n is too small to
        show any difference.
    """
    from scipy.special import ndtri

    quantile = float(ndtri(power))
    low, high = 0.0, float(np.sqrt(discordant))
    for _ in range(60):
        middle = (low + high) / 2
        needed = NORMAL_QUANTILE * np.sqrt(discordant) + quantile * np.sqrt(max(discordant - middle**2, 0.0))
        low, high = (low, middle) if middle * np.sqrt(n) > needed else (middle, high)
    return min(high, discordant) if are_proportions else high


def _permutation_p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pairs [n, (numerator, denominator)] of both sides; exchanging the sides of a pair must not matter."""
    observed = abs(_difference(first.sum(axis=0), second.sum(axis=0)))
    generator = np.random.default_rng(0)
    at_once = max(1, _FLIPS_AT_ONCE // len(first))
    as_large = 0
    for start in range(0, _FLIPS, at_once):
        flips = generator.random((min(at_once, _FLIPS - start), len(first))) < 0.5
        swapped = flips @ (second - first)
        differences = _difference(first.sum(axis=0) + swapped, second.sum(axis=0) - swapped)
        # Rounding may make an equal difference slightly smaller.
        as_large += int((abs(differences) >= observed - 1e-12).sum())
    return (as_large + 1) / (_FLIPS + 1)


def _difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    difference: NDArray[np.float64] = first[..., 0] / first[..., 1] - second[..., 0] / second[..., 1]
    return difference
