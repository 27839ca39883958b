"""How often the intervals contain the truth: by enumeration of all samples, or by simulation where there are too many.

``benchmarks/interval_coverage.py`` prints the table.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.estimate import Estimate, estimate_mean, estimate_ratio
from response_tuning.evaluation.shared.statistics.kappa import kappa_draws, kappas
from response_tuning.evaluation.shared.statistics.paired import tango
from response_tuning.evaluation.shared.statistics.proportions import proportion_bounds
from response_tuning.evaluation.shared.statistics.resampling import percentile_bounds, seed_draws

__all__ = [
    "cluster_coverage",
    "difference_coverage",
    "kappa_coverage",
    "proportion_coverage",
    "rating_coverage",
    "seeds_coverage",
]

Floats = NDArray[np.float64]
Bounds = Callable[[NDArray[np.int_], int], tuple[Floats, Floats]]

_ROUNDING = 1e-9
_LOG_NOTHING = -1e300


def proportion_coverage(n: int, proportions: Floats, bounds: Bounds = proportion_bounds) -> Floats:
    """The exact coverage of a proportion's interval at each true proportion strictly between 0 and 1."""
    successes = np.arange(n + 1)
    low, high = bounds(successes, n)
    counts = np.column_stack([successes, n - successes])
    return np.array(
        [_covered(_probabilities(counts, (p, 1 - p)), low, high, p) for p in proportions.tolist()], dtype=np.float64
    )


def difference_coverage(n: int, gained: float, lost: float) -> float:
    """The exact coverage of the interval of paired proportions, given the probabilities of both discordant pairs."""
    counts = _compositions(n, 3)
    low, high = tango(counts[:, 0], counts[:, 1], n)
    return _covered(_probabilities(counts, (gained, lost, 1 - gained - lost)), low, high, gained - lost)


def rating_coverage(n: int, probabilities: Sequence[float]) -> float:
    """The exact coverage of the interval of a mean rating, given the probabilities of the ratings 1, 2, ..."""
    counts = _compositions(n, len(probabilities))
    estimates = _rating_estimates(n, len(probabilities))
    truth = sum(rating * p for rating, p in enumerate(probabilities, start=1))
    return _covered(_probabilities(counts, probabilities), *_bounds(estimates), truth)


def cluster_coverage(units: int, checks: int, proportion: float, correlation: float, *, samples: int) -> float:
    """The simulated coverage of a ratio's interval: units of up to ``checks`` dependent checks (beta-binomial)."""
    generator = np.random.default_rng(0)
    strength = 1 / correlation - 1
    wholes = generator.integers(1, checks + 1, size=(samples, units))
    rates = generator.beta(proportion * strength, (1 - proportion) * strength, size=wholes.shape)
    parts = generator.binomial(wholes, rates)
    estimates = [estimate_ratio(a.tolist(), b.tolist()) for a, b in zip(parts, wholes, strict=True)]
    return float(np.mean([estimate.low <= proportion <= estimate.high for estimate in estimates]))


def kappa_coverage(n: int, probabilities: Sequence[Sequence[float]], *, samples: int) -> float:
    """The simulated coverage of kappa's interval, given the probabilities of a table's cells."""
    cells = np.asarray(probabilities, dtype=np.float64)
    truth = float(kappas(cells))
    tables = np.random.default_rng(0).multinomial(n, cells.ravel(), size=samples)
    hits = []
    for table in tables.reshape(samples, *cells.shape).astype(np.float64):
        value = float(kappas(table))
        if not np.isnan(value):
            low, high = percentile_bounds(kappa_draws(table, 1_000))
            hits.append(min(low, value) <= truth <= max(high, value))
    return float(np.mean(hits))


def seeds_coverage(
    seeds: int, prompts: int, *, of_prompts: float, of_seeds: float, of_noise: float, samples: int
) -> float:
    """The simulated coverage of the mean over seeds, given standard deviations of its random effects."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(samples):
        effects = of_prompts * generator.normal(size=(1, prompts)) + of_seeds * generator.normal(size=(seeds, 1))
        low, high = percentile_bounds(
            seed_draws(effects + of_noise * generator.normal(size=(seeds, prompts)), resamples=500)
        )
        hits += low <= 0 <= high
    return hits / samples


@cache
def _compositions(n: int, cells: int) -> NDArray[np.int_]:
    """All tables of ``n`` observations in ``cells`` cells [tables, cells]."""
    bars = np.array(list(combinations(range(n + cells - 1), cells - 1)))
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), n + cells - 1)])
    return np.diff(edges, axis=1) - 1


@cache
def _rating_estimates(n: int, ratings: int) -> list[Estimate]:
    scale = np.arange(1.0, ratings + 1)
    return [
        estimate_mean(np.repeat(scale, counts).tolist(), bounds=(1, ratings)) for counts in _compositions(n, ratings)
    ]


def _bounds(estimates: Sequence[Estimate]) -> tuple[Floats, Floats]:
    # Estimates are rounded to four digits.
    low = np.array([estimate.low for estimate in estimates]) - 5e-5
    return low, np.array([estimate.high for estimate in estimates]) + 5e-5


def _probabilities(counts: NDArray[np.int_], cells: Sequence[float]) -> Floats:
    """The multinomial probability of each table [tables, cells]."""
    from scipy.special import gammaln

    logs = np.log(cells, out=np.full(len(cells), _LOG_NOTHING), where=np.asarray(cells) > 0)
    coefficients = gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)
    probabilities: Floats = np.exp(coefficients + np.where(counts > 0, counts * logs, 0.0).sum(axis=1))
    return probabilities


def _covered(probabilities: Floats, low: Floats, high: Floats, truth: float) -> float:
    return float(probabilities[(low <= truth + _ROUNDING) & (truth <= high + _ROUNDING)].sum())
