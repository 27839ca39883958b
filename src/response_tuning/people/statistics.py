"""What the votes of a rating say: acceptance, preference, strengths, and how far raters agree.

Intervals are over prompts, the unit that was drawn: all votes on a prompt are resampled together. Where several raters
judged a response, its value is their mean.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.people.judgements import Judgement

__all__ = [
    "Agreement",
    "Rater",
    "Strengths",
    "acceptance",
    "agreement",
    "bradley_terry",
    "first_votes",
    "krippendorff_alpha",
    "preferences",
    "raters",
]

_DRAWS = 1_000
_NEWTON_STEPS = 50
_PRIOR = 1e-6
"""Keeps the strength of a run that won everything finite; far below what a vote weighs."""


def first_votes(judgements: Iterable[Judgement]) -> list[Judgement]:
    """The first judgement of each pair on each prompt, as the published labels of Tulu 1 were counted."""
    found: dict[tuple[str, frozenset[str]], Judgement] = {}
    for each in judgements:
        found.setdefault((each.prompt, frozenset(each.runs)), each)
    return list(found.values())


def acceptance(judgements: Sequence[Judgement], runs: Sequence[str]) -> dict[str, Estimate]:
    """The rate of acceptable responses of each run that was rated; n counts prompts."""
    values: dict[str, dict[str, list[float]]] = {run: defaultdict(list) for run in runs}
    for each in judgements:
        for run, is_acceptable in zip(each.runs, each.acceptable, strict=False):
            values[run][each.prompt].append(float(is_acceptable))
    return {run: estimate_mean([_mean(votes) for votes in of.values()]) for run, of in values.items() if of}


def preferences(judgements: Sequence[Judgement], runs: Sequence[str]) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Of each pair of runs how often each is preferred, and how often neither: "first", "tie" and "second"."""
    votes: dict[tuple[str, str], dict[str, list[float]]] = {}
    for each in judgements:
        if each.left_wins is not None:
            first, second = sorted(each.runs, key=list(runs).index)
            votes.setdefault((first, second), defaultdict(list))[each.prompt].append(each.wins(first))
    sides: dict[str, Callable[[float], bool]] = {
        "first": lambda wins: wins > 0.5,
        "tie": lambda wins: wins == 0.5,
        "second": lambda wins: wins < 0.5,
    }
    return {
        pair: {
            side: estimate_mean([_mean([float(holds(wins)) for wins in said]) for said in of.values()])
            for side, holds in sides.items()
        }
        for pair, of in votes.items()
    }


@dataclass(frozen=True)
class Strengths:
    """Bradley-Terry strengths."""

    strengths: dict[str, tuple[float, float, float]]
    """Of each run its log-odds against the mean of all runs, with the bounds of its 95% interval."""
    length_effect: tuple[float, float, float] | None
    """With length control, the log-odds that twice as long a response gains; None without."""


def bradley_terry(
    judgements: Sequence[Judgement], runs: Sequence[str], *, control_length: bool = False, seed: int = 0
) -> Strengths:
    """The strengths by which the odds of a preference are explained; a tie is half a win for each.

    They are the coefficients of a logistic regression without intercept, which are made to sum to zero.

    Args:
        judgements: With preferences.
        runs: All of them.
        control_length: Whether the length of responses explains preferences as well.
        seed: Of the resampling of prompts.
    """
    compared = [each for each in judgements if each.left_wins is not None]
    design = np.zeros((len(compared), len(runs) + control_length))
    for row, each in enumerate(compared):
        design[row, runs.index(each.runs[0])] += 1
        design[row, runs.index(each.runs[1])] -= 1
        if control_length:
            left, right = each.lengths
            design[row, -1] = np.log2(max(left, 1) / max(right, 1))
    wins = np.array([each.left_wins for each in compared])
    groups = _rows_by_prompt(compared)
    generator = np.random.default_rng(seed)
    point = _fit(design, wins, np.ones(len(wins)), runs=len(runs))
    draws = [_fit(design, wins, _weights(groups, len(wins), generator), runs=len(runs)) for _ in range(_DRAWS)]
    low, high = np.percentile(np.array(draws), [2.5, 97.5], axis=0)
    bounds = [(float(p), float(a), float(b)) for p, a, b in zip(point, low, high, strict=True)]
    return Strengths(dict(zip(runs, bounds, strict=False)), bounds[-1] if control_length else None)


def _fit(design: Any, wins: Any, weights: Any, *, runs: int) -> Any:
    """The coefficients [columns], by Newton's method."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        chances = 1 / (1 + np.exp(-design @ coefficients))
        gradient = design.T @ (weights * (wins - chances)) - _PRIOR * coefficients
        curvature = (design.T * (weights * chances * (1 - chances))) @ design + _PRIOR * np.eye(len(coefficients))
        step = np.linalg.solve(curvature, gradient)
        coefficients += step
        if np.abs(step).max() < 1e-10:
            break
    coefficients[:runs] -= coefficients[:runs].mean()
    return coefficients


def _rows_by_prompt(judgements: Sequence[Judgement]) -> list[Any]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, each in enumerate(judgements):
        rows[each.prompt].append(row)
    return [np.array(of) for of in rows.values()]


def _weights(groups: Sequence[Any], count: int, generator: Any) -> Any:
    """How often each row counts in a sample of as many prompts, drawn with replacement."""
    weights = np.zeros(count)
    drawn = np.bincount(generator.integers(0, len(groups), len(groups)), minlength=len(groups))
    for rows, times in zip(groups, drawn, strict=True):
        weights[rows] = times
    return weights


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the same screens."""

    prompts: int
    """That two raters or more judged."""
    same: float
    """The rate of pairs of raters that say the same."""
    half_for_ties: float
    """The same, where a tie against a side counts half; that of ``same`` for other judgements."""
    alpha: float
    """Krippendorff's alpha."""
    low: float
    """The bounds of alpha's 95% interval over prompts."""
    high: float


def agreement(
    judgements: Sequence[Judgement], value: Callable[[Judgement], Mapping[str, float]], *, distance: str
) -> Agreement | None:
    """How far raters agree on the values of the same units; None where no unit has two.

    The interval of alpha resamples prompts, with all their votes, 1,000 times.

    Args:
        judgements: Of all raters.
        value: The values of a judgement by what they are about, such as a run, or a pair of runs.
        distance: Krippendorff's: "nominal" or "ordinal".
    """
    units: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for each in judgements:
        for about, said in value(each).items():
            units[each.prompt, about][each.rater] = said
    units = {key: votes for key, votes in units.items() if len(votes) > 1}
    if not units:
        return None
    pairs = [pair for votes in units.values() for pair in combinations(votes.values(), 2)]
    prompts = sorted({prompt for prompt, _ in units})
    of_prompt = {prompt: [votes for (other, _), votes in units.items() if other == prompt] for prompt in prompts}
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS):
        drawn = generator.integers(0, len(prompts), len(prompts))
        draws.append(krippendorff_alpha([votes for index in drawn for votes in of_prompt[prompts[index]]], distance))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Agreement(
        prompts=len(prompts),
        same=_mean([float(one == other) for one, other in pairs]),
        half_for_ties=_mean(
            [1 - abs(one - other) if 0.5 in (one, other) else float(one == other) for one, other in pairs]
        ),
        alpha=krippendorff_alpha(list(units.values()), distance),
        low=float(low),
        high=float(high),
    )


def krippendorff_alpha(units: Sequence[Mapping[str, float]], distance: str) -> float:
    """Krippendorff's alpha from the coincidences of values (Krippendorff 2018, chapter 12); NaN where all are equal.

    Args:
        units: Of each unit the values by rater; two at least.
        distance: "nominal" or "ordinal".
    """
    names = sorted({value for votes in units for value in votes.values()})
    if len(names) < 2:
        return float("nan")
    place = {name: index for index, name in enumerate(names)}
    coincidences = np.zeros((len(names), len(names)))
    for votes in units:
        counts = np.bincount([place[value] for value in votes.values()], minlength=len(names)).astype(float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1)
    totals = coincidences.sum(axis=1)
    if distance == "nominal":
        distances = 1 - np.eye(len(names))
    else:  # ordinal: the ranks between two values, half of the two themselves
        ends = np.cumsum(totals) - totals / 2
        distances = (ends[:, None] - ends[None, :]) ** 2
    expected = np.outer(totals, totals) - np.diag(totals)
    return float(1 - (totals.sum() - 1) * (coincidences * distances).sum() / (expected * distances).sum())


@dataclass(frozen=True)
class Rater:
    """What tells about a rater."""

    votes: int
    left: float | None
    """Of the preferences that are no ties the fraction for the left side; None where there are none."""
    seconds: float
    """The median time of a vote."""


def raters(judgements: Sequence[Judgement]) -> dict[str, Rater]:
    """Each rater's votes, bias to the left, and speed."""
    found: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        found[each.rater].append(each)
    return {name: _rater(votes) for name, votes in found.items()}


def _rater(votes: Sequence[Judgement]) -> Rater:
    sides = [each.left_wins for each in votes if each.left_wins not in (None, 0.5)]
    left = _mean([float(side == 1) for side in sides]) if sides else None
    return Rater(len(votes), left, median(each.seconds for each in votes))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
