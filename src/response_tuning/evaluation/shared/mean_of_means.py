"""The mean of several sets' means, such as the one number that a paper prints for six benchmarks.

Every set has a fixed weight, however many rows it has. A row's value is its numerator and denominator in one ratio of
sums, so that runs are compared on it like on any other metric, row by row.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from response_tuning.evaluation.shared.statistics import Estimate, estimate_ratio

__all__ = ["add_mean_of_means"]


def add_mean_of_means(rows: Sequence[Mapping[str, Any]], name: str, weights: Mapping[str, float]) -> Estimate | None:
    """Add the metric ``name`` to the ``values`` of rows; None, and nothing is added, if a set has no row.

    Args:
        rows: with ``values``: a number per metric. Those without any metric of ``weights`` are left alone.
        name: of the new metric.
        weights: of each metric's mean, by its name; they sum to 1, and a row has at most one of the metrics.
    """
    found = [(row["values"], metric) for row in rows for metric in weights if metric in row["values"]]
    counts = Counter(metric for _, metric in found)
    if counts.keys() != weights.keys():
        return None
    pairs = []
    for values, metric in found:
        weight = weights[metric] * len(found) / counts[metric]
        values[name] = [values[metric] * weight, weight]
        pairs.append(values[name])
    return estimate_ratio([part for part, _ in pairs], [whole for _, whole in pairs])
