"""How a confidence goes with a score: Pearson's and Spearman's correlation, with bootstrap intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["Correlation", "correlation"]

_RESAMPLES = 2_000
_FEWEST = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Correlation:
    """Of a confidence with a score, over responses."""

    pearson: Estimate
    spearman: Estimate
    """Pearson's of the ranks, with ties at their mean rank."""


def correlation(confidences: Sequence[float], scores: Sequence[float]) -> Correlation | None:
    """Both correlations with their percentile bootstrap intervals (2,000 resamples of responses, fixed seed).

    None where there are fewer than three responses, or all have the same confidence or score: nothing can vary
    together. Resamples in which that is so are left out of the interval.
    """
    sample = np.asarray([confidences, scores], dtype=np.float64)
    if sample.shape[1] < _FEWEST or (sample == sample[:, :1]).all(axis=1).any():
        return None
    count = sample.shape[1]
    drawn = np.random.default_rng(0).integers(0, count, size=(_RESAMPLES, count))
    resampled = sample[:, drawn]  # [2, resamples, responses]
    ranks = np.stack([rankdata(values, axis=-1) for values in resampled])
    whole_ranks = np.stack([rankdata(values) for values in sample])
    return Correlation(
        pearson=_estimate(_pearson(sample[:, None])[0], _pearson(resampled), n=count),
        spearman=_estimate(_pearson(whole_ranks[:, None])[0], _pearson(ranks), n=count),
    )


def _pearson(pairs: Floats) -> Floats:
    """[resamples] of pairs [2, resamples, responses]; not a number where one of the two is constant."""
    first, second = pairs - pairs.mean(axis=-1, keepdims=True)
    scale = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        values: Floats = np.where(scale > 0, (first * second).sum(axis=-1) / scale, np.nan)
    return np.clip(values, -1, 1)


def _estimate(value: float, resampled: Floats, *, n: int) -> Estimate:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Estimate(round(float(value), 4), n, round(float(low), 4), round(float(high), 4))
