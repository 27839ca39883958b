"""Means with n and a 95% confidence interval, and paired differences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate_difference", "estimate_mean", "estimate_ratio"]

_RESAMPLES = 10_000
_DRAWS_AT_ONCE = 5_000_000
_NORMAL_QUANTILE = 1.959963984540054
"""Of 97.5%."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` independent units (instructions), with the bounds of its 95% interval."""

    value: float
    n: int
    low: float
    high: float


def estimate_mean(values: Sequence[float]) -> Estimate:
    """The mean and its percentile bootstrap interval (Efron 1979), from 10,000 resamples with a fixed seed.

    A proportion of exactly 0 or 1 (all values 0, or all 1) has the score interval of Wilson 1927 instead: every
    resample of such values is the same, and an interval of zero width would claim a certainty that a few values cannot
    give.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    sample = np.asarray(values, dtype=np.float64)
    if not sample.any():
        return Estimate(0.0, len(sample), 0.0, round(_score_margin(len(sample)), 4))
    if (sample == 1).all():
        return Estimate(1.0, len(sample), round(1 - _score_margin(len(sample)), 4), 1.0)
    generator = np.random.default_rng(0)
    means = sample[generator.integers(0, len(sample), size=(_RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(round(float(sample.mean()), 4), len(sample), round(float(low), 4), round(float(high), 4))


def estimate_ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """The sum of ``parts`` over the sum of ``wholes``, such as checks passed over checks made, one pair per unit.

    The checks of one unit are dependent, so whole units are resampled: n counts units, and the interval is the
    percentile bootstrap of the ratio.

    A ratio of exactly 0 or 1 is the same in every resample. It has Wilson's interval for a proportion of ``n`` units,
    as if the checks of one unit always agreed, which is the most conservative assumption. (For the effective sample
    size of clusters in an interval for independent trials, see Korn & Graubard 1998.)

    Raises:
        ValueError: there are no units.
    """
    if not parts:
        raise ValueError("a ratio needs at least one unit")
    sums, counts = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    if not sums.any() or (sums == counts).all():
        return estimate_mean([float(sums.any())] * len(sums))
    drawn = np.random.default_rng(0).integers(0, len(sums), size=(_RESAMPLES, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    value = float(sums.sum() / counts.sum())
    return Estimate(round(value, 4), len(sums), round(float(low), 4), round(float(high), 4))


def estimate_difference(values: Sequence[tuple[float, float]], baseline: Sequence[tuple[float, float]]) -> Estimate:
    """The ratio of sums of ``values`` minus that of ``baseline``, paired by unit (the same prompts).

    The interval is the paired percentile bootstrap, from 10,000 resamples with a fixed seed. If proportions differ by
    the same amount in every pair, so that all resamples are equal, it is the score interval of Tango 1998.

    Args:
        values: numerator and denominator per unit; the denominator is 1 for a unit with a single value.
        baseline: the same for the baseline.

    Raises:
        ValueError: there are no units, or their numbers differ.
    """
    if not values or len(values) != len(baseline):
        raise ValueError("a paired difference needs the same number of units on both sides, and at least one")
    # [unit, (numerator, denominator of values, numerator, denominator of baseline)]
    pairs = np.hstack([np.asarray(side, dtype=np.float64) for side in (values, baseline)])
    value = float(_ratio_difference(pairs.sum(axis=0)))
    if _are_all_or_nothing(pairs) and (_ratio_difference(pairs) == value).all():
        low, high = _score_bounds(value, len(pairs))
    else:
        low, high = np.percentile(_resampled_differences(pairs), [2.5, 97.5]).tolist()
    return Estimate(round(value, 4), len(pairs), round(low, 4), round(high, 4))


def _score_margin(n: int) -> float:
    """The width of Wilson's interval of a proportion of 0 or 1 among ``n``."""
    return _NORMAL_QUANTILE**2 / (n + _NORMAL_QUANTILE**2)


def _score_bounds(difference: float, n: int) -> tuple[float, float]:
    """Tango's interval of a difference of paired proportions that is -1, 0 or 1 in each of ``n`` pairs."""
    margin = _score_margin(n) * (1 if difference == 0 else 2)
    return max(-1.0, difference - margin), min(1.0, difference + margin)


def _are_all_or_nothing(pairs: np.ndarray) -> bool:
    """Whether each unit's ratio is 0 or 1 on both sides."""
    parts, wholes = pairs[:, [0, 2]], pairs[:, [1, 3]]
    return bool((wholes > 0).all() and ((parts == 0) | (parts == wholes)).all())


def _ratio_difference(sums: np.ndarray) -> np.ndarray:
    """Sums [..., 4] of numerator and denominator on both sides into differences [...]."""
    difference: np.ndarray = sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    return difference


def _resampled_differences(pairs: np.ndarray) -> np.ndarray:
    """Differences [10,000] of resampled pairs, computed in chunks to bound memory."""
    generator = np.random.default_rng(0)
    at_once = max(1, _DRAWS_AT_ONCE // len(pairs))
    differences = []
    for start in range(0, _RESAMPLES, at_once):
        drawn = generator.integers(0, len(pairs), size=(min(at_once, _RESAMPLES - start), len(pairs)))
        differences.append(_ratio_difference(np.stack([column[drawn].sum(axis=1) for column in pairs.T], axis=-1)))
    return np.concatenate(differences)
