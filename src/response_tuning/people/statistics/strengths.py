"""Bradley-Terry strengths of runs, with intervals over prompts, and with the length of responses controlled.

The log-odds that one run is preferred to another are the difference of their strengths (Bradley & Terry 1952); a tie is
half a win for each. These are the coefficients of a logistic regression without intercept, made to sum to zero. With
length control, the base-2 logarithm of the ratio of lengths is a further column, as the length of AlpacaEval's
length-controlled win rate (Dubois et al. 2024): strengths are then those at equal length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from response_tuning.people.statistics.rates import Joined

__all__ = ["UNBOUNDED", "Bounds", "Strengths", "bradley_terry"]

Floats = NDArray[np.float64]
Bounds = tuple[float, float, float]
"""A value with the bounds of its 95% interval."""

UNBOUNDED = 8.0
"""Log-odds beyond which a strength says only that a run won, or lost, everything."""
_DRAWS = 1_000
_DRAWS_AT_ONCE = 100
_NEWTON_STEPS = 60
_CONVERGED = 1e-10
_PRIOR = 1e-6
"""The weight of a normal prior that keeps the strength of a run that won everything finite; far below one vote's."""
_LONGEST_STEP = 2.0


@dataclass(frozen=True)
class Strengths:
    """Strengths of runs."""

    of_runs: dict[str, Bounds]
    """Of each run its log-odds against the mean of all runs. Bounds beyond ``UNBOUNDED`` are none."""
    length_effect: Bounds | None
    """With length control, the log-odds that a response of twice the length gains; None without."""


def bradley_terry(joined: Joined, *, control_length: bool = False, seed: int = 0) -> Strengths:
    """The strengths of the runs in joined votes; the interval is the percentile bootstrap of 1,000 samples of prompts.

    Args:
        joined: With preferences.
        control_length: Whether the length of responses explains preferences as well.
        seed: Of the resampling of prompts.

    Raises:
        ValueError: there is no preference, or a length is not known.
    """
    if not joined.preferences:
        raise ValueError("strengths need preferences")
    design, wins, prompts = _comparisons(joined, control_length=control_length)
    count = len(joined.runs)
    point = _fit(design, wins, np.ones((1, len(wins))), runs=count)[0]
    draws = np.concatenate(
        [_fit(design, wins, weights, runs=count) for weights in _resampled(prompts, np.random.default_rng(seed))]
    )
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    bounds = [(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True)]
    return Strengths(dict(zip(joined.runs, bounds, strict=False)), bounds[-1] if control_length else None)


def _comparisons(joined: Joined, *, control_length: bool) -> tuple[Floats, Floats, NDArray[np.int_]]:
    """The design [comparisons, runs (+ 1)], what the first run wins, and the number of each comparison's prompt."""
    place = {run: number for number, run in enumerate(joined.runs)}
    prompts: dict[str, int] = {}
    design = np.zeros((len(joined.preferences), len(place) + control_length))
    wins, of_prompt = np.zeros(len(design)), np.zeros(len(design), dtype=int)
    for row, ((prompt, (first, second)), of) in enumerate(joined.preferences.items()):
        design[row, place[first]], design[row, place[second]] = 1, -1
        wins[row] = of[0] + of[1] / 2
        of_prompt[row] = prompts.setdefault(prompt, len(prompts))
        if control_length:
            if (prompt, first) not in joined.lengths or (prompt, second) not in joined.lengths:
                raise ValueError("the length of a response is not known")
            one, other = (max(joined.lengths[prompt, run], 1) for run in (first, second))
            design[row, -1] = np.log2(one / other)
    return design, wins, of_prompt


def _resampled(prompts: NDArray[np.int_], generator: np.random.Generator) -> Sequence[Floats]:
    """How often each comparison counts [draws, comparisons], in samples of as many prompts with replacement."""
    count = int(prompts.max()) + 1
    blocks = []
    for _ in range(_DRAWS // _DRAWS_AT_ONCE):
        times = generator.multinomial(count, np.full(count, 1 / count), size=_DRAWS_AT_ONCE)
        blocks.append(times[:, prompts].astype(np.float64))
    return blocks


def _fit(design: Floats, wins: Floats, weights: Floats, *, runs: int) -> Floats:
    """The coefficients [draws, columns] under each row of weights, by Newton's method on all draws at once."""
    columns = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    fitted = np.zeros((len(weights), columns))
    for _ in range(_NEWTON_STEPS):
        chances = 1 / (1 + np.exp(-fitted @ design.T))
        gradient = (weights * (wins - chances)) @ design - _PRIOR * fitted
        curvature = ((weights * chances * (1 - chances)) @ products).reshape(-1, columns, columns)
        step = np.linalg.solve(curvature + _PRIOR * np.eye(columns), gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        fitted += step * np.minimum(1.0, _LONGEST_STEP / np.maximum(longest, _CONVERGED))
        if longest.max() < _CONVERGED:
            break
    fitted[:, :runs] -= fitted[:, :runs].mean(axis=1, keepdims=True)
    return fitted
