"""Acceptance and preference rates from joined votes, with intervals over prompts.

A prompt is the unit that was drawn. All votes on a response are joined first, also where it was rated on several
screens (against several other runs), so that every response counts once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.people.judgements import Judgement
from response_tuning.people.statistics.joining import Join, join_votes

__all__ = ["Joined", "Pair", "acceptance", "joined_votes", "level_rates", "preference_rates", "win_rates"]

Floats = NDArray[np.float64]
Value = TypeVar("Value")
Pair = tuple[str, str]
"""Two runs in the order of the rating."""

_FIRST, _TIE, _SECOND = range(3)
_SIDES = {"first": _FIRST, "tie": _TIE, "second": _SECOND}


@dataclass(frozen=True)
class Joined:
    """What all raters together say."""

    runs: Sequence[str]
    acceptable: Mapping[tuple[str, str], float]
    """By prompt and run, the probability that the response is acceptable."""
    levels: Mapping[tuple[str, str], Floats]
    """By prompt and run, the probability of each level; empty where levels are not known."""
    preferences: Mapping[tuple[str, Pair], Floats]
    """By prompt and pair of runs, the probability that the first is preferred, neither, or the second."""
    lengths: Mapping[tuple[str, str], int]
    """By prompt and run, the characters of the response, where they are known."""


def joined_votes(judgements: Sequence[Judgement], runs: Sequence[str], how: Join = "mean") -> Joined:
    """Join the votes of several raters (see ``joining``).

    Args:
        judgements: Of all raters; ties of identical responses have no rating of their own and count as one vote.
        runs: Names, in the order of the rating; others are ignored.
        how: By mean, by majority, or by Dawid and Skene's model.
    """
    acceptable: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    levels: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    preferences: dict[tuple[str, Pair], dict[str, int]] = defaultdict(dict)
    lengths: dict[tuple[str, str], int] = {}
    for number, each in enumerate(judgements):
        # A response that a rater saw on several screens has several votes of that rater.
        voter = each.rater if how == "dawid-skene" else f"{each.rater}#{number}"
        for run, is_acceptable in zip(each.runs, each.acceptable, strict=False):
            acceptable[each.prompt, run][voter] = int(is_acceptable)
        for run, level in zip(each.runs, each.levels, strict=False):
            levels[each.prompt, run][voter] = level
        for run, length in each.lengths.items():
            lengths[each.prompt, run] = length
        if each.left_wins is not None:
            pair = _in_order(each.runs, runs)
            wins = each.wins(pair[0])
            preferences[each.prompt, pair][voter] = _FIRST if wins > 0.5 else _SECOND if wins < 0.5 else _TIE
    highest = 1 + max((level for said in levels.values() for level in said.values()), default=0)
    return Joined(
        runs,
        {item: float(of[1]) for item, of in join_votes(acceptable, 2, how).items()},
        join_votes(levels, highest, how),
        join_votes(preferences, 3, how),
        lengths,
    )


def acceptance(joined: Joined) -> dict[str, Estimate]:
    """The rate of acceptable responses of each run that was rated; n counts prompts."""
    return {run: rate for run in joined.runs if (rate := _rate([*_of_run(joined.acceptable, run)])) is not None}


def level_rates(joined: Joined, level: int) -> dict[str, Estimate]:
    """The rate of one level, by its place in the protocol, in each run that was rated; n counts prompts."""
    found = {}
    for run in joined.runs:
        values = [of[level] if level < len(of) else 0.0 for of in _of_run(joined.levels, run)]
        rate = _rate(values)
        if rate is not None:
            found[run] = rate
    return found


def preference_rates(joined: Joined) -> dict[Pair, dict[str, Estimate]]:
    """Of each pair of runs how often the "first" is preferred, neither ("tie"), or the "second"; n counts prompts."""
    of_pairs: dict[Pair, list[Floats]] = defaultdict(list)
    for (_, pair), of in joined.preferences.items():
        of_pairs[pair].append(of)
    return {
        pair: {side: _required([of[place] for of in values]) for side, place in _SIDES.items()}
        for pair, values in of_pairs.items()
    }


def win_rates(joined: Joined) -> dict[str, Estimate]:
    """What each run wins against the others, a tie as half; n counts prompts."""
    of_runs: dict[str, dict[str, list[float]]] = {run: defaultdict(list) for run in joined.runs}
    for (prompt, (first, second)), of in joined.preferences.items():
        wins = float(of[_FIRST] + of[_TIE] / 2)
        of_runs[first][prompt].append(wins)
        of_runs[second][prompt].append(1 - wins)
    means = {run: [sum(wins) / len(wins) for wins in of.values()] for run, of in of_runs.items()}
    return {run: _required(values) for run, values in means.items() if values}


def _in_order(runs: Sequence[str], order: Sequence[str]) -> Pair:
    first, second = sorted(runs, key=list(order).index)
    return first, second


def _of_run(values: Mapping[tuple[str, str], Value], run: str) -> list[Value]:
    return [value for (_, of), value in values.items() if of == run]


def _rate(values: Sequence[float]) -> Estimate | None:
    return _required(values) if values else None


def _required(values: Sequence[float]) -> Estimate:
    """A mean of probabilities; those of floating-point arithmetic may be just outside of their scale."""
    return estimate_mean([min(1.0, max(0.0, round(float(value), 12))) for value in values], bounds=(0, 1))
