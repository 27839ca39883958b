"""Estimates with n and a 95% confidence interval: means, ratios, paired differences, and means over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.paired import tango
from response_tuning.evaluation.shared.statistics.proportions import (
    clopper_pearson,
    effective_size,
    proportion_bounds,
    wilson,
)
from response_tuning.evaluation.shared.statistics.resampling import (
    RESAMPLES,
    percentile_bounds,
    ratio_differences,
    seed_draws,
)

__all__ = [
    "Estimate",
    "ProportionInterval",
    "estimate_difference",
    "estimate_mean",
    "estimate_over_seeds",
    "estimate_ratio",
]

Floats = NDArray[np.float64]
ProportionInterval = Literal["wilson", "clopper-pearson"]

_DIFFERENCE_END_WEIGHT = 0.75
"""Of pseudo-units at the ends of a difference's scale. Differences are often nearly all zero: at 0.5, the interval of
20 pairs of which a tenth differ, all one way, covers 88%; at 0.75, 93% or more (``coverage``)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` independent units (instructions), with the bounds of its 95% interval."""

    value: float
    n: int
    low: float
    high: float


def estimate_mean(
    values: Sequence[float],
    *,
    bounds: tuple[float, float] | None = None,
    proportion: ProportionInterval = "wilson",
) -> Estimate:
    """The mean of one value per unit.

    The interval depends on the values. Values that are all 0 or 1 are a proportion and have its score interval
    (``proportions.proportion_bounds``). Values on a scale of known ``bounds`` have Wilson's interval with an effective
    sample size: it stays inside the scale, and has a positive width even if all values are equal. Any other values
    have the percentile interval of 10,000 resamples with a fixed seed, which has no width if all values are equal.

    Args:
        values: of each unit.
        bounds: the lowest and the highest value that the scale has, such as (1, 5) for ratings.
        proportion: the interval of a proportion.

    Raises:
        ValueError: there are no values, or one is outside of ``bounds``.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    sample = np.asarray(values, dtype=np.float64)
    if _are_binary(sample) and bounds in (None, (0, 1)):
        interval = clopper_pearson if proportion == "clopper-pearson" else proportion_bounds
        return _estimate(sample.mean(), len(sample), *interval(int(sample.sum()), len(sample)))
    ones = np.ones_like(sample)
    if bounds is not None:
        lowest, highest = _checked_bounds(sample, bounds)
        low, high = _ratio_bounds((sample - lowest) / (highest - lowest), ones)
        low, high = (lowest + (highest - lowest) * bound for bound in (low, high))
        return _estimate(sample.mean(), len(sample), low, high)
    resampled = ratio_differences(np.column_stack([sample, ones]))
    return _estimate(sample.mean(), len(sample), *percentile_bounds(resampled))


def estimate_ratio(parts: Sequence[float], wholes: Sequence[float]) -> Estimate:
    """The sum of ``parts`` over the sum of ``wholes``, such as checks passed over checks made, one pair per unit.

    The checks of one unit are dependent, so n counts units. The interval is Wilson's with an effective sample size,
    from the variance between units (``proportions.effective_size``). Parts that are negative or above their whole are
    no proportion: their interval is the percentile bootstrap over units.

    Raises:
        ValueError: there are no units, or a whole is not positive.
    """
    if not parts:
        raise ValueError("a ratio needs at least one unit")
    sums, counts = np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)
    if (counts <= 0).any():
        raise ValueError("the whole of a unit must be positive")
    if (counts == 1).all():
        return estimate_mean([*parts])
    value = sums.sum() / counts.sum()
    if ((sums >= 0) & (sums <= counts)).all():
        return _estimate(value, len(sums), *_ratio_bounds(sums, counts))
    return _estimate(value, len(sums), *percentile_bounds(ratio_differences(np.column_stack([sums, counts]))))


def estimate_difference(
    values: Sequence[tuple[float, float]],
    baseline: Sequence[tuple[float, float]],
    *,
    bounds: tuple[float, float] | None = None,
) -> Estimate:
    """The ratio of sums of ``values`` minus that of ``baseline``, paired by unit (the same prompts).

    Proportions have the score interval of Tango (1998), also if few pairs or none differ. Values on a scale of known
    ``bounds``, and ratios over the same wholes, have Wilson's interval with an effective sample size on the scale of
    their differences. Any others have the paired percentile bootstrap, 10,000 resamples with a fixed seed.

    Args:
        values: numerator and denominator per unit; the denominator is 1 for a unit with a single value.
        baseline: the same for the baseline.
        bounds: the lowest and the highest single value that the scale has.

    Raises:
        ValueError: there are no units, their numbers differ, or a value is outside of ``bounds``.
    """
    if not values or len(values) != len(baseline):
        raise ValueError("a paired difference needs the same number of units on both sides, and at least one")
    # [unit, (numerator, denominator of values, numerator, denominator of baseline)]
    pairs = np.hstack([np.asarray(side, dtype=np.float64) for side in (values, baseline)])
    parts, wholes = pairs[:, [0, 2]], pairs[:, [1, 3]]
    n, value = len(pairs), parts[:, 0].sum() / wholes[:, 0].sum() - parts[:, 1].sum() / wholes[:, 1].sum()
    is_single = bool((wholes == 1).all())
    if is_single and _are_binary(parts) and bounds in (None, (0, 1)):
        gained, lost = (parts[:, 0] > parts[:, 1]).sum(), (parts[:, 0] < parts[:, 1]).sum()
        return _estimate(value, n, *tango(int(gained), int(lost), n))
    if is_single and bounds is not None:
        lowest, highest = _checked_bounds(parts, bounds)
        return _estimate(
            value, n, *_difference_bounds(parts, wholes[:, 0] * (highest - lowest), scale=highest - lowest)
        )
    if not is_single and (wholes[:, 0] == wholes[:, 1]).all() and ((parts >= 0) & (parts <= wholes)).all():
        return _estimate(value, n, *_difference_bounds(parts, wholes[:, 0]))
    return _estimate(value, n, *percentile_bounds(ratio_differences(pairs)))


def estimate_over_seeds(
    values: Sequence[Sequence[float]],
    baseline: Sequence[Sequence[float]] | None = None,
    *,
    bounds: tuple[float, float] | None = None,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean over several seeds that answered the same prompts, or the paired difference of two such means.

    The interval is the hierarchical bootstrap over seeds and prompts (``resampling.seed_draws``): it holds for new
    prompts and for new seeds. With a single seed it is the interval over prompts alone, as of ``estimate_mean``.

    Args:
        values: of each seed, one value per prompt, in the same order of prompts.
        baseline: the same of the baseline: as many seeds, each trained with the seed of the row it is paired with.
        bounds: the lowest and the highest single value that the scale has, which the interval does not leave; (0, 1)
            where all values are 0 or 1. With two seeds, the interval is often wider than the scale.
        resamples: how many to draw; fewer where there are hundreds of estimates.

    Returns:
        The estimate; n counts prompts.

    Raises:
        ValueError: there are no values, or the seeds do not have the same prompts.
    """
    table = _table(values)
    sides = [values] if baseline is None else [values, baseline]
    if baseline is not None:
        other = _table(baseline)
        if other.shape != table.shape:
            raise ValueError("a paired difference over seeds needs the same seeds and prompts on both sides")
        if len(table) == 1:
            return estimate_difference([(v, 1.0) for v in values[0]], [(v, 1.0) for v in baseline[0]])
        table = table - other
    if len(table) > 1 and np.ptp(table) == 0:  # resampling would give no width; all seeds agree, so the prompts decide
        return estimate_over_seeds(values[:1], baseline[:1] if baseline is not None else None, bounds=bounds)
    if len(table) == 1 or table.shape[1] == 1:
        return estimate_mean(table.mean(axis=0).tolist())
    scale = (0.0, 1.0) if bounds is None and all(_are_binary(_table(side)) for side in sides) else bounds
    low, high = percentile_bounds(seed_draws(table, resamples=resamples))
    if scale is not None:
        width = scale[1] - scale[0]
        lowest, highest = scale if baseline is None else (-width, width)
        low, high = max(low, lowest), min(high, highest)
    return _estimate(table.mean(), table.shape[1], low, high)


def _table(values: Sequence[Sequence[float]]) -> Floats:
    """Values as [seeds, prompts]."""
    if not values or not values[0] or len({len(row) for row in values}) > 1:
        raise ValueError("means over seeds need the same prompts, at least one, for every seed")
    return np.asarray(values, dtype=np.float64)


def _are_binary(values: Floats) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _checked_bounds(values: Floats, bounds: tuple[float, float]) -> tuple[float, float]:
    lowest, highest = bounds
    if not ((values >= lowest) & (values <= highest)).all():
        raise ValueError(f"a value is outside of the scale from {lowest} to {highest}")
    return lowest, highest


def _ratio_bounds(parts: Floats, wholes: Floats) -> tuple[float, float]:
    low, high = wilson(float(parts.sum() / wholes.sum()), effective_size(parts, wholes))
    return float(low), float(high)


def _difference_bounds(parts: Floats, wholes: Floats, *, scale: float = 1.0) -> tuple[float, float]:
    """Bounds of a difference from -scale to scale, computed on its scale from 0 to 1."""
    moved = (parts[:, 0] - parts[:, 1] + wholes) / 2
    size = effective_size(moved, wholes, end_weight=_DIFFERENCE_END_WEIGHT)
    low, high = wilson(float(moved.sum() / wholes.sum()), size)
    return scale * (2 * float(low) - 1), scale * (2 * float(high) - 1)


def _estimate(value: float, n: int, low: float | Floats, high: float | Floats) -> Estimate:
    return Estimate(round(float(value), 4), n, round(float(low), 4), round(float(high), 4))
