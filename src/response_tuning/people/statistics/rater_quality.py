"""What tells about each rater: bias to a side, speed, agreement with the others, and attention checks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.people.judgements import Judgement

__all__ = ["Rater", "rater_quality"]


@dataclass(frozen=True)
class Rater:
    """What tells about a rater."""

    votes: int
    left: Estimate | None
    """Of the preferences that are no ties the rate of the left side; None where there are none. Sides are balanced, so
    that an interval that excludes a half is a bias."""
    seconds: float
    """The median time of a vote."""
    agreement: Estimate | None
    """The rate of the others' verdicts on acceptability and preference that equal this rater's, by prompts; None where
    nobody else judged the same screens."""
    checks: tuple[int, int]
    """Attention checks passed, and answered."""


def rater_quality(
    judgements: Sequence[Judgement], checks: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Rater]:
    """What tells about each rater.

    Args:
        judgements: Of all raters.
        checks: By rater, attention checks passed and answered.
    """
    found: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        found[each.rater].append(each)
    verdicts = _verdicts(judgements)
    return {
        name: Rater(
            len(votes),
            _left(votes),
            median(each.seconds for each in votes),
            _agreement(name, verdicts),
            (checks or {}).get(name, (0, 0)),
        )
        for name, votes in found.items()
    }


def _left(votes: Sequence[Judgement]) -> Estimate | None:
    wins = [each.left_wins for each in votes if each.left_wins is not None]
    sides = [float(won > 0.5) for won in wins if won != 0.5]
    return estimate_mean(sides) if sides else None


def _verdicts(judgements: Sequence[Judgement]) -> dict[tuple[str, str], dict[str, float]]:
    """By prompt and what a verdict is about, each rater's."""
    verdicts: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for each in judgements:
        for run, acceptable in zip(each.runs, each.acceptable, strict=False):
            verdicts[each.prompt, run][each.rater] = float(acceptable)
        if each.left_wins is not None:
            first = min(each.runs)
            verdicts[each.prompt, " / ".join(sorted(each.runs))][each.rater] = each.wins(first)
    return verdicts


def _agreement(name: str, verdicts: Mapping[tuple[str, str], Mapping[str, float]]) -> Estimate | None:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), said in verdicts.items():
        if name in said:
            by_prompt[prompt] += [float(value == said[name]) for rater, value in said.items() if rater != name]
    means = [sum(same) / len(same) for same in by_prompt.values() if same]
    return estimate_mean(means, bounds=(0, 1)) if means else None
