"""Judge and probe against people: how far each measure of the same responses follows what people accept and prefer.

A measure is any value that an evaluation saved for a response that people rated (``evaluations/TASK/responses.jsonl``),
or a judge's preference between two responses that people compared (an ``annotations.json`` of alpaca_eval). Items are
matched by their texts. Where people are divided equally there is no verdict, and the item is left out.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics import (
    Estimate,
    estimate_difference,
    estimate_kappa,
    estimate_mean,
)

__all__ = ["Item", "JudgeAgreement", "Proxy", "judge_agreement", "measure_proxy"]

Floats = NDArray[np.float64]

_BINS = 4
_DRAWS = 1_000


class Item(NamedTuple):
    """A response that people rated and an evaluation measured."""

    prompt: str
    value: float
    accepted: float
    """The probability that people accept it."""


@dataclass(frozen=True)
class Proxy:
    """How far a measure follows what people accept."""

    measure: str
    n: int
    """Responses that have the measure and a verdict of people."""
    agreement: Estimate | None
    """Of a measure that is 0 or 1: the rate of responses on which it says what people say."""
    kappa: Estimate | None
    """Of the same."""
    excess: Estimate | None
    """Of the same: the rate by the measure minus the rate by people, paired by prompt."""
    auc: Estimate | None
    """The probability that an accepted response has a higher value than one that is not accepted; None where people
    accept all or none."""
    bins: tuple[tuple[float, float, int], ...]
    """The calibration: the mean value, the rate of accepted responses, and n, in groups of rising values."""


@dataclass(frozen=True)
class JudgeAgreement:
    """How far a judge prefers what people prefer."""

    judge: str
    pairs: int
    agreement: Estimate
    """The rate of pairs with the same verdict: first, tie or second."""
    kappa: Estimate | None
    decided: Estimate | None
    """Of the pairs that neither side calls a tie, the rate with the same winner."""


def measure_proxy(measure: str, items: Iterable[Item]) -> Proxy | None:
    """Compare a measure with people; None where no item has a verdict.

    Args:
        measure: Its name.
        items: Every response that has both; the same prompt may have several.
    """
    decided = [item for item in items if item.accepted != 0.5]
    if not decided:
        return None
    prompts = [item.prompt for item in decided]
    values = np.array([item.value for item in decided])
    truth = np.array([item.accepted > 0.5 for item in decided], dtype=np.float64)
    is_binary = bool(np.isin(values, (0, 1)).all())
    return Proxy(
        measure,
        len(decided),
        _mean_by_prompt(prompts, values == truth) if is_binary else None,
        estimate_kappa(_counts(values.astype(int), truth.astype(int), 2)) if is_binary else None,
        _difference_by_prompt(prompts, values, truth) if is_binary else None,
        _auc(prompts, values, truth),
        _calibration(values, truth),
    )


def judge_agreement(judge: str, pairs: Sequence[tuple[str, int, int]]) -> JudgeAgreement | None:
    """Compare a judge's preferences with people's; None where there is no pair.

    Args:
        judge: Its name.
        pairs: The prompt, the judge's verdict and people's: 0 for the first, 1 for a tie, 2 for the second.
    """
    if not pairs:
        return None
    prompts, said, truth = (list(column) for column in zip(*pairs, strict=True))
    decided = [(prompt, one == other) for prompt, one, other in pairs if 1 not in (one, other)]
    return JudgeAgreement(
        judge,
        len(pairs),
        _mean_by_prompt(prompts, [one == other for one, other in zip(said, truth, strict=True)]),
        estimate_kappa(_counts(said, truth, 3)),
        _mean_by_prompt(*map(list, zip(*decided, strict=True))) if decided else None,
    )


def _counts(said: Iterable[int], truth: Iterable[int], classes: int) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for one, other in zip(said, truth, strict=True):
        table[one][other] += 1
    return table


def _by_prompt(prompts: Sequence[str], values: Iterable[float]) -> dict[str, list[float]]:
    grouped: dict[str, list[float]] = defaultdict(list)
    for prompt, value in zip(prompts, values, strict=True):
        grouped[prompt].append(float(value))
    return grouped


def _means(groups: Mapping[str, Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in groups.values()]


def _mean_by_prompt(prompts: Sequence[str], values: Iterable[float]) -> Estimate:
    return estimate_mean(_means(_by_prompt(prompts, values)), bounds=(0, 1))


def _difference_by_prompt(prompts: Sequence[str], values: Floats, truth: Floats) -> Estimate:
    said, known = (_means(_by_prompt(prompts, each)) for each in (values, truth))
    return estimate_difference([(each, 1.0) for each in said], [(each, 1.0) for each in known], bounds=(0, 1))


def _auc(prompts: Sequence[str], values: Floats, truth: Floats) -> Estimate | None:
    """The area under the ROC curve, with the percentiles of 1,000 samples of prompts."""
    if truth.min() == truth.max():
        return None
    numbers: dict[str, int] = {}
    of_prompt = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts])
    generator = np.random.default_rng(0)
    times = generator.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=_DRAWS)
    draws = _weighted_auc(values, truth, times[:, of_prompt].astype(np.float64))
    point = float(_weighted_auc(values, truth, np.ones((1, len(values))))[0])
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(round(point, 4), len(numbers), round(float(low), 4), round(float(high), 4))


def _weighted_auc(values: Floats, truth: Floats, weights: Floats) -> Floats:
    """The area under each row of weights; nan where one class has no weight."""
    levels, place = np.unique(values, return_inverse=True)
    accepted = np.zeros((len(weights), len(levels)))
    others = np.zeros_like(accepted)
    for level in range(len(levels)):
        at_level = place == level
        accepted[:, level] = (weights[:, at_level] * truth[at_level]).sum(axis=1)
        others[:, level] = (weights[:, at_level] * (1 - truth[at_level])).sum(axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    whole = accepted.sum(axis=1) * others.sum(axis=1)
    won = (accepted * below).sum(axis=1)
    area: Floats = np.divide(won, whole, out=np.full_like(won, np.nan), where=whole > 0)
    return area


def _calibration(values: Floats, truth: Floats) -> tuple[tuple[float, float, int], ...]:
    """Groups of rising values, equal values together: at most four."""
    levels = np.unique(values)
    edges = levels if len(levels) <= _BINS else np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[:-1]))
    group = np.searchsorted(edges, values, side="right") - 1
    return tuple(
        (round(float(values[group == g].mean()), 4), round(float(truth[group == g].mean()), 4), int((group == g).sum()))
        for g in np.unique(group)
    )
