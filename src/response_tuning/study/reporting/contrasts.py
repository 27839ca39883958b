"""The statistics of a study: every arm's mean, and its difference from the baseline's, paired by prompt and seed.

Both seeds and prompts are random. A difference is computed for each prompt and seed; its interval resamples seeds and
prompts, its p value is that of their crossed effects (``statistics.over_seeds``). With one seed, interval and p value
hold for these trainings alone. All tests of a study are one family: their p values are adjusted by Holm's method.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.prompt_values import Prompt, Ratio
from response_tuning.evaluation.shared.statistics import (
    Estimate,
    crossed_mean,
    estimate_difference,
    estimate_mean,
    estimate_over_seeds,
    estimate_ratio,
    holm,
    minimal_detectable_difference,
    paired_p_value,
)
from response_tuning.study.reporting.results import Arm, Results, Scale

__all__ = ["Contrast", "Value", "baseline_pairs", "compare_arms", "values_of"]

_LEVEL = 0.05
_FEWEST_DIFFERING = 6
"""2 / 2**6 is below 5%, 2 / 2**5 is not."""
_MANY = 300
"""From this number of estimates on, each has fewer resamples, so that a report takes seconds."""
_FEWER_RESAMPLES = 1_000
_RESAMPLES = 10_000

Table = list[list[Ratio]]
"""Values [seeds, prompts]."""


@dataclass(frozen=True)
class Value:
    """One arm's mean in one metric."""

    evaluation: str
    metric: str
    arm: Arm
    estimate: Estimate
    seeds: int
    """How many trainings it is the mean of; 0 for a method without."""


@dataclass(frozen=True)
class Contrast:
    """One arm minus its baseline in one metric."""

    evaluation: str
    metric: str
    arm: Arm
    baseline: Arm
    estimate: Estimate
    seeds: int
    """How many pairs of trainings; 0 where neither is trained."""
    p: float
    detectable: float
    """The smallest true difference that this number of prompts and seeds shows in 80% of such studies."""
    largest: float
    """The largest difference that the scale has; infinite without a scale."""
    adjusted_p: float | None = None
    """By Holm's method over the tests of the study; None where the metric is shown without a test."""

    @property
    def differs(self) -> bool:
        """Whether the study shows a difference."""
        return self.adjusted_p is not None and self.adjusted_p < _LEVEL


def values_of(results: Sequence[Results]) -> list[Value]:
    """The mean of every arm in every metric."""
    wanted = [(of, metric, arm) for of in results for metric in of.metrics for arm in of.arms]
    resamples = _FEWER_RESAMPLES if len(wanted) > _MANY else _RESAMPLES
    values = []
    for of, metric, arm in wanted:
        table = _table([cell.values for cell in arm.cells], metric)
        if table:
            estimate = _mean(table, of.scales.get(metric), resamples)
            values.append(Value(of.label, metric, arm, estimate, len(arm.seeds)))
    return values


def compare_arms(
    results: Sequence[Results], baseline: Mapping[str, Any], tested: Mapping[str, Sequence[str]]
) -> list[Contrast]:
    """Every arm against its baseline in every metric, with p values adjusted for all tests.

    Args:
        results: of each evaluation.
        baseline: values of axes that make an arm the baseline of those that are equal in all else.
        tested: by evaluation, the metrics that are tested; all of an evaluation that is not named.
    """
    wanted = [
        (of, metric, arm, other)
        for of in results
        for arm, other in baseline_pairs(of.arms, baseline)
        for metric in of.metrics
    ]
    resamples = _FEWER_RESAMPLES if len(wanted) > _MANY else _RESAMPLES
    contrasts = [
        contrast
        for of, metric, arm, other in wanted
        if (contrast := _contrast(of, metric, arm, other, resamples)) is not None
    ]
    family = [
        position for position, one in enumerate(contrasts) if one.metric in tested.get(one.evaluation, [one.metric])
    ]
    adjusted = dict(zip(family, holm([contrasts[position].p for position in family]), strict=True))
    return [replace(one, adjusted_p=adjusted.get(position)) for position, one in enumerate(contrasts)]


def baseline_pairs(arms: Sequence[Arm], baseline: Mapping[str, Any]) -> Iterator[tuple[Arm, Arm]]:
    """Each arm with every arm that has the baseline's values and is equal in each other axis that both have."""
    for arm in arms:
        for other in arms:
            if other is arm or any(other.axes.get(axis) != value for axis, value in baseline.items()):
                continue
            shared = (arm.axes.keys() & other.axes.keys()) - baseline.keys()
            if all(arm.axes[axis] == other.axes[axis] for axis in shared) and not _has(arm, baseline):
                yield arm, other


def _has(arm: Arm, baseline: Mapping[str, Any]) -> bool:
    return all(arm.axes.get(axis) == value for axis, value in baseline.items())


def _contrast(of: Results, metric: str, arm: Arm, other: Arm, resamples: int) -> Contrast | None:
    sides = _paired_cells(arm, other)
    if not sides:
        return None
    tables = _table([cell for pair in sides for cell in pair], metric)
    if not tables:
        return None
    first, second = tables[::2], tables[1::2]
    seeds = len(sides) if arm.seeds or other.seeds else 0
    scale = of.scales.get(metric) or _proportions(tables)
    if len(sides) == 1:
        estimate = estimate_difference(first[0], second[0], bounds=of.scales.get(metric))
        p, detectable = paired_p_value(first[0], second[0]), _detectable(first[0], second[0])
    else:
        one, two = _linear(first), _linear(second)
        estimate = estimate_over_seeds(one.tolist(), two.tolist(), bounds=scale, resamples=resamples)
        p, detectable = _over_seeds(one - two, _detectable(first[0], second[0]))
    largest = float("inf") if scale is None else scale[1] - scale[0]
    return Contrast(of.label, metric, arm, other, estimate, seeds, p, min(detectable, largest), largest)


def _paired_cells(arm: Arm, other: Arm) -> list[tuple[Any, Any]]:
    """The values of both sides for each seed: the common ones; one without a seed is paired with every seed."""
    first, second = ({cell.seed: cell.values for cell in each.cells} for each in (arm, other))
    if None in first or None in second:
        seeds = [*(second if None in first else first)]
        return [(first.get(seed, first.get(None)), second.get(seed, second.get(None))) for seed in seeds]
    return [(first[seed], second[seed]) for seed in first if seed in second]


def _table(cells: Sequence[Mapping[Prompt, Mapping[str, Ratio]]], metric: str) -> Table:
    """The values of each cell on the prompts for which all of them have one; empty without such prompts."""
    first, *others = cells
    common = [
        prompt
        for prompt, values in first.items()
        if metric in values and all(prompt in other and metric in other[prompt] for other in others)
    ]
    return [[cell[prompt][metric] for prompt in common] for cell in cells] if common else []


def _mean(table: Table, scale: Scale | None, resamples: int) -> Estimate:
    if len(table) > 1:
        return estimate_over_seeds(_linear(table).tolist(), bounds=scale or _proportions(table), resamples=resamples)
    parts, wholes = zip(*table[0], strict=True)
    return estimate_mean(parts, bounds=scale) if set(wholes) == {1.0} else estimate_ratio(parts, wholes)


def _proportions(table: Table) -> Scale | None:
    """The scale of values that are all proportions."""
    return (0.0, 1.0) if all(0 <= part <= whole for row in table for part, whole in row) else None


def _linear(table: Table) -> NDArray[np.float64]:
    """Values [seeds, prompts] whose mean over prompts is each seed's ratio of sums (linearised, the delta method)."""
    pairs = np.asarray(table, dtype=np.float64)
    parts, wholes = pairs[..., 0], pairs[..., 1]
    ratio = parts.sum(axis=1, keepdims=True) / wholes.sum(axis=1, keepdims=True)
    linear: NDArray[np.float64] = ratio + (parts - ratio * wholes) / wholes.mean(axis=1, keepdims=True)
    return linear


def _over_seeds(differences: NDArray[np.float64], of_one_seed: float) -> tuple[float, float]:
    """The p value and the minimal detectable difference of differences [seeds, prompts].

    Args:
        differences: of at least two seeds.
        of_one_seed: what the prompts of one seed show, where all seeds and prompts agree.
    """
    if differences.shape[1] == 1:
        return 1.0, float("inf")
    crossed = crossed_mean(differences)
    if crossed.standard_error == 0 and crossed.value == 0:
        return 1.0, of_one_seed
    return crossed.p, crossed.detectable()


def _detectable(first: Sequence[Ratio], second: Sequence[Ratio]) -> float:
    differences = (_linear([[*first]]) - _linear([[*second]]))[0]
    values = {part for side in (first, second) for part, whole in side if whole == 1}
    are_proportions = values <= {0.0, 1.0} and all(whole == 1 for side in (first, second) for _, whole in side)
    spread = float((differences**2).mean())
    found = minimal_detectable_difference(len(differences), spread, are_proportions=are_proportions)
    # Where hardly a pair differs, the spread says little: an exact test needs six that differ one way.
    return max(found, min(1.0, _FEWEST_DIFFERING / len(differences))) if are_proportions else found
