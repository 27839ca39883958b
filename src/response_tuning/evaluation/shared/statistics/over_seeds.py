"""Tests of means over seeds and prompts: both are random, and all seeds answered the same prompts.

The mean of a table [seeds, prompts] has the variance of two crossed random effects. Its standard error is that of the
analysis of variance without replication, and its degrees of freedom are Satterthwaite's (1946), as in the quasi-F tests
of Clark (1973) for sentences and speakers. With few seeds that differ much, the degrees of freedom are nearly those of
the seeds alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CrossedMean", "crossed_mean"]

_SEVERAL = 2
_LEAST_OF_PROMPTS = 0.5


@dataclass(frozen=True)
class CrossedMean:
    """The mean of a table of seeds and prompts, and how sure it is."""

    value: float
    standard_error: float
    degrees_of_freedom: float

    @property
    def p(self) -> float:
        """The two-sided p value of a mean of zero."""
        from scipy.special import stdtr

        if self.standard_error == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.degrees_of_freedom, -abs(self.value) / self.standard_error))

    def detectable(self, *, power: float = 0.8) -> float:
        """The smallest true mean that a table of this size and spread shows at the 5% level with this probability."""
        from scipy.special import stdtrit

        quantiles = stdtrit(self.degrees_of_freedom, 0.975) + stdtrit(self.degrees_of_freedom, power)
        return float(quantiles * self.standard_error)


def crossed_mean(values: Sequence[Sequence[float]] | NDArray[np.float64]) -> CrossedMean:
    """The mean of values [seeds, prompts], such as differences paired by seed and prompt.

    Raises:
        ValueError: there are fewer than two seeds or prompts.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != _SEVERAL or min(table.shape) < _SEVERAL:
        raise ValueError("a test over seeds needs two seeds and two prompts, or more")
    seeds, prompts = table.shape
    of_seeds, of_prompts = table.mean(axis=1), table.mean(axis=0)
    residuals = table - of_seeds[:, None] - of_prompts + table.mean()
    free = np.array([seeds - 1, prompts - 1, (seeds - 1) * (prompts - 1)], dtype=np.float64)
    sums = np.array([prompts * of_seeds.var() * seeds, seeds * of_prompts.var() * prompts, (residuals**2).sum()])
    squares = sums / free  # mean squares of seeds, prompts and what is left
    total, degrees = _combined(squares, free)
    return CrossedMean(float(table.mean()), float(np.sqrt(total / table.size)), degrees)


def _combined(squares: NDArray[np.float64], free: NDArray[np.float64]) -> tuple[float, float]:
    """The mean square of the mean, and its degrees of freedom.

    With two or three seeds, seeds that differ much may look alike by chance. So their mean square counts as no less
    than what is left, and in the degrees of freedom as no less than half of the prompts'. In simulations (2 to 5 seeds,
    80 to 805 prompts), 5% of tests reject a true null hypothesis at most, but for two seeds that differ more than
    prompts do (8%).
    """
    seeds, prompts, rest = squares
    total = float(max(seeds, rest) + prompts - rest)
    total = max(total, float(seeds), float(prompts))
    at_least = np.array([max(seeds, _LEAST_OF_PROMPTS * prompts), prompts, rest])
    return total, float(total**2 / (at_least**2 / free).sum()) if total else float(free[0])
