"""Training losses as they are drawn: smoothed."""

from collections.abc import Sequence

__all__ = ["smoothed"]

_SMOOTHING = 0.8


def smoothed(series: Sequence[float]) -> list[float]:
    """An exponential moving average with bias correction."""
    means, mean, weight = [], 0.0, 0.0
    for value in series:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        means.append(mean / weight)
    return means
