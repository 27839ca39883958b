"""Cohen's kappa (1960): agreement beyond chance, for any number of classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.estimate import Estimate
from response_tuning.evaluation.shared.statistics.resampling import RESAMPLES, percentile_bounds

__all__ = ["estimate_kappa", "kappa_draws", "kappas"]

Floats = NDArray[np.float64]

_PRIOR_TOTAL = 2.0
"""The total of the prior counts, divided among the cells: half a pair for each cell of two classes (Jeffreys). With
half as much, the interval covers 87% where one class is rare; with twice as much, 80% where both sides nearly agree."""


def estimate_kappa(counts: Sequence[Sequence[int]]) -> Estimate | None:
    """Kappa of a square table of counts, with an interval that is never of zero width.

    The interval holds the middle 95% of kappa under the Dirichlet posterior of the cells' probabilities, with a prior
    that weighs as much as two pairs, and kappa itself: 10,000 draws with a fixed seed. A bootstrap of the
    pairs has no width where all of them agree, or where one side has a single class.

    Args:
        counts: rows are the classes of one side, columns those of the other, in the same order.

    Returns:
        Kappa, with n the number of pairs; None if both sides have the same single class, or there is no pair.

    Raises:
        ValueError: the table is not square, or a count is negative.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or (table < 0).any():
        raise ValueError("kappa needs a square table of counts")
    value = float(kappas(table))
    if np.isnan(value):
        return None
    low, high = percentile_bounds(kappa_draws(table, RESAMPLES))
    return Estimate(
        round(value, 4), int(table.sum()), round(max(-1.0, min(low, value)), 4), round(min(1.0, max(high, value)), 4)
    )


def kappa_draws(table: Floats, count: int) -> Floats:
    """Draws of kappa from the posterior of a table of counts [classes, classes]."""
    prior = _PRIOR_TOTAL / table.size
    cells = np.random.default_rng(0).dirichlet(table.ravel() + prior, size=count)
    return kappas(cells.reshape(count, *table.shape))


def kappas(tables: Floats) -> Floats:
    """Kappa of each table [..., classes, classes]; nan where it is not defined."""
    total = tables.sum(axis=(-2, -1))
    agreed = np.trace(tables, axis1=-2, axis2=-1) * total
    by_chance = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1)
    most = np.asarray(total * total - by_chance, dtype=np.float64)
    kappa: Floats = np.divide(agreed - by_chance, most, out=np.full_like(most, np.nan), where=most > 0)
    return kappa
