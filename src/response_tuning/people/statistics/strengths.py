"""Bradley-Terry strengths of runs, with intervals over prompts, and with the length of responses controlled.

The log-odds that one run is preferred to another are the difference of their strengths (Bradley & Terry 1952); a tie is
half a win for each. These are the coefficients of a logistic regression without intercept, made to sum to zero. With
length control, the base-2 logarithm of the ratio of lengths is a further column, as the length of AlpacaEval's
length-controlled win rate (Dubois et al. 2024): strengths are then those at equal length.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from response_tuning.people.statistics.rates import Joined

__all__ = ["Bounds", "Strengths", "bradley_terry"]

Floats = NDArray[np.float64]
Bounds = tuple[float, float, float]
"""A value with the bounds of its 95% interval."""

_SEPARATED = 10.0
"""A difference of log-odds that says only that one run won everything against another."""
_DRAWS_AT_ONCE = 200
_BLOCKS, _CONTROLLED_BLOCKS = 5, 2
"""Of draws; with length control each comparison is a row of its own, and a draw takes fifty times as long."""
_NEWTON_STEPS = 60
_CONVERGED = 1e-10
_PRIOR = 1e-6
"""The weight of a normal prior that keeps the strength of a run that won everything finite; far below one vote's."""
_LONGEST_STEP = 2.0


@dataclass(frozen=True)
class Strengths:
    """Strengths of runs."""

    of_runs: dict[str, Bounds]
    """Of each run its log-odds against the mean of all runs; infinite where a run won or lost everything. A bound is
    infinite where that holds for more than one sample in forty."""
    length_effect: Bounds | None
    """With length control, the log-odds that a response of twice the length gains; None without."""


def bradley_terry(joined: Joined, *, control_length: bool = False, seed: int = 0) -> Strengths:
    """The strengths of the runs in joined votes.

    The interval is the percentile bootstrap over prompts: 1,000 samples, or 400 with length control.

    Args:
        joined: With preferences.
        control_length: Whether the length of responses explains preferences as well.
        seed: Of the resampling of prompts.

    Raises:
        ValueError: there is no preference, or a length is not known.
    """
    if not joined.preferences:
        raise ValueError("strengths need preferences")
    compared = _comparisons(joined, control_length=control_length)
    count = len(joined.runs)
    point = _fit(compared, np.ones((1, compared.prompts)), runs=count)[0]
    generator = np.random.default_rng(seed)
    drawn = [_times(compared.prompts, generator) for _ in range(_CONTROLLED_BLOCKS if control_length else _BLOCKS)]
    draws = np.concatenate([_fit(compared, times, runs=count, start=point) for times in drawn])
    point, draws = (_infinite_where_separated(fitted, count) for fitted in (point, draws))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0, method="nearest")
    bounds = [(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True)]
    return Strengths(dict(zip(joined.runs, bounds, strict=False)), bounds[-1] if control_length else None)


def _infinite_where_separated(fitted: Floats, runs: int) -> Floats:
    """The coefficients [..., columns], those of runs infinite where they are too far apart to be known."""
    strengths = fitted[..., :runs]
    is_separated = np.ptp(strengths, axis=-1, keepdims=True) > _SEPARATED
    sides = np.where(strengths > 0, np.inf, -np.inf)
    infinite = np.where(np.abs(strengths) < _SEPARATED / runs, 0.0, sides)
    return np.concatenate([np.where(is_separated, infinite, strengths), fitted[..., runs:]], axis=-1)


@dataclass(frozen=True)
class _Comparisons:
    """Comparisons with the same explanation are one row: only how many there are, and how many are won, counts."""

    design: Floats
    """[rows, runs (+ 1)]"""
    totals: Any
    """How many comparisons of each row a prompt has: a sparse matrix [prompts, rows]."""
    won: Any
    """What the first run wins in them, alike."""
    prompts: int


def _comparisons(joined: Joined, *, control_length: bool) -> _Comparisons:
    from scipy.sparse import csr_array

    place = {run: number for number, run in enumerate(joined.runs)}
    prompts: dict[str, int] = {}
    design = np.zeros((len(joined.preferences), len(place) + control_length))
    wins, of_prompt = np.zeros(len(design)), np.zeros(len(design), dtype=int)
    for row, ((prompt, (first, second)), of) in enumerate(joined.preferences.items()):
        design[row, place[first]], design[row, place[second]] = 1, -1
        wins[row] = of[0] + of[1] / 2
        of_prompt[row] = prompts.setdefault(prompt, len(prompts))
        if control_length:
            design[row, -1] = _length_ratio(joined, prompt, first, second)
    rows, row_of = np.unique(design, axis=0, return_inverse=True)
    shape = (len(prompts), len(rows))
    totals = csr_array((np.ones(len(wins)), (of_prompt, row_of)), shape=shape)
    return _Comparisons(rows, totals, csr_array((wins, (of_prompt, row_of)), shape=shape), len(prompts))


def _length_ratio(joined: Joined, prompt: str, first: str, second: str) -> float:
    if (prompt, first) not in joined.lengths or (prompt, second) not in joined.lengths:
        raise ValueError("the length of a response is not known")
    one, other = (max(joined.lengths[prompt, run], 1) for run in (first, second))
    return float(np.log2(one / other))


def _times(prompts: int, generator: np.random.Generator) -> Floats:
    """How often each prompt is in a sample of as many with replacement [draws, prompts]."""
    return generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=_DRAWS_AT_ONCE).astype(np.float64)


def _fit(compared: _Comparisons, times: Floats, *, runs: int, start: Floats | float = 0.0) -> Floats:
    """The coefficients [draws, columns] of each sample of prompts, by Newton's method on all of them at once."""
    design = compared.design
    columns = design.shape[1]
    totals, won = np.asarray(times @ compared.totals), np.asarray(times @ compared.won)  # [draws, rows]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    fitted = np.zeros((len(times), columns)) + start
    for _ in range(_NEWTON_STEPS):
        chances = 1 / (1 + np.exp(-fitted @ design.T))
        gradient = (won - totals * chances) @ design - _PRIOR * fitted
        curvature = ((totals * chances * (1 - chances)) @ products).reshape(-1, columns, columns)
        step = np.linalg.solve(curvature + _PRIOR * np.eye(columns), gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        fitted += step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _CONVERGED))
        if longest.max() < _CONVERGED:
            break
    fitted[:, :runs] -= fitted[:, :runs].mean(axis=1, keepdims=True)
    return fitted
