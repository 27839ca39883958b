"""The results of a rating: everything that its report shows, computed from the votes that there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.people.judgements import Judgement, identical_ties, judgements_of, samples_passed
from response_tuning.people.proxy_items import judges_of, proxies_of
from response_tuning.people.report.published import PublishedResult, published_results
from response_tuning.people.statistics.agreement import Agreement, Distance, agreement
from response_tuning.people.statistics.joining import Join
from response_tuning.people.statistics.proxies import JudgeAgreement, Proxy
from response_tuning.people.statistics.rater_quality import Rater, rater_quality
from response_tuning.people.statistics.rates import (
    Joined,
    Pair,
    acceptance,
    joined_votes,
    level_rates,
    preference_rates,
    win_rates,
)
from response_tuning.people.statistics.strengths import Strengths, bradley_terry
from response_tuning.people.store import Store

__all__ = ["RatingSummary", "agreements", "rating_summary", "summarise"]

_LARGEST_EFFECT = 10.0
"""Log-odds for twice the length beyond which the effect of length is not known at all."""


@dataclass(frozen=True)
class RatingSummary:
    """Everything that a report shows."""

    runs: list[str]
    join: Join
    votes: int
    joined: Joined
    acceptance: dict[str, Estimate]
    levels: dict[str, dict[str, Estimate]]
    """By the level's name and run."""
    preferences: dict[Pair, dict[str, Estimate]]
    wins: dict[str, Estimate]
    """Of each run against the others, a tie as half."""
    identical: int
    """Pairs of identical responses, each counted as a tie."""
    strengths: Strengths | None
    controlled: Strengths | None
    """The strengths with length control; None where lengths are not known, or cannot be told apart from the runs."""
    agreement: dict[str, Agreement]
    raters: dict[str, Rater]
    published: list[PublishedResult]
    proxies: list[Proxy] = field(default_factory=list)
    judges: list[JudgeAgreement] = field(default_factory=list)


def rating_summary(
    store: Store, *, join: Join = "mean", annotations: Sequence[Path] = (), with_proxies: bool = True
) -> RatingSummary:
    """The results of an open rating.

    Args:
        store: The rating.
        join: How several raters' votes on an item become one.
        annotations: Judges' preferences to compare with people's, as files of alpaca_eval.
        with_proxies: Whether evaluations of the runs are compared with people.

    Raises:
        UserError: evalica is not installed, or a file of annotations cannot be read.
    """
    protocol = store.protocol
    summary = summarise(
        judgements_of(store),
        store.runs,
        ties=identical_ties(store),
        join=join,
        levels=[level.name for level in protocol.levels],
        checks=samples_passed(store, "check"),
        protocol=protocol.name,
    )
    if with_proxies:
        prompts, responses = store.prompts, store.responses
        summary.proxies.extend(proxies_of(summary.joined, prompts, responses))
        summary.judges.extend(judges_of(summary.joined, prompts, responses, annotations))
    return summary


def summarise(
    judgements: Sequence[Judgement],
    runs: Sequence[str],
    *,
    ties: Sequence[Judgement] = (),
    join: Join = "mean",
    levels: Sequence[str] = (),
    checks: Mapping[str, tuple[int, int]] | None = None,
    protocol: str = "",
) -> RatingSummary:
    """The results of judgements.

    Args:
        judgements: Of all raters.
        runs: Names, in the order of tables.
        ties: Those that no rater had to see.
        join: How several raters' votes on an item become one.
        levels: The names of the protocol's levels.
        checks: By rater, attention checks passed and answered.
        protocol: Its name, for published results.

    Raises:
        UserError: evalica is not installed.
    """
    joined = joined_votes([*judgements, *ties], runs, join)
    has_lengths = all(
        (prompt, run) in joined.lengths for prompt, pair in joined.preferences for run in pair
    )  # labels of others may have none
    return RatingSummary(
        runs=list(runs),
        join=join,
        votes=len(judgements),
        joined=joined,
        acceptance=acceptance(joined),
        levels={name: rates for place, name in enumerate(levels) if (rates := level_rates(joined, place))},
        preferences=preference_rates(joined),
        wins=win_rates(joined),
        identical=len(ties),
        strengths=bradley_terry(joined) if joined.preferences else None,
        controlled=_controlled(joined) if joined.preferences and has_lengths else None,
        agreement=agreements(judgements),
        raters=rater_quality(judgements, checks),
        published=published_results(protocol),
    )


def _controlled(joined: Joined) -> Strengths | None:
    """The strengths with length control; None where one run's responses are always longer by the same factor."""
    strengths = bradley_terry(joined, control_length=True)
    effect = strengths.length_effect
    is_known = effect is not None and all(abs(bound) < _LARGEST_EFFECT for bound in effect)
    return strengths if is_known else None


def agreements(judgements: Sequence[Judgement]) -> dict[str, Agreement]:
    """How far raters agree on acceptability, on levels if there are more than two, and on preferences."""
    compared = [each for each in judgements if each.left_wins is not None]
    found = {"acceptability": agreement(judgements, _acceptability, distance="nominal")}
    if any(level > 1 for each in judgements for level in each.levels):
        ordinal: Distance = "ordinal"
        found["level"] = agreement(judgements, _levels, distance=ordinal)
    found["preference"] = agreement(compared, _preference, distance="nominal", tie=0.5)
    return {name: each for name, each in found.items() if each is not None}


def _acceptability(each: Judgement) -> dict[str, float]:
    return {run: float(value) for run, value in zip(each.runs, each.acceptable, strict=False)}


def _levels(each: Judgement) -> dict[str, float]:
    return {run: float(value) for run, value in zip(each.runs, each.levels, strict=False)}


def _preference(each: Judgement) -> dict[str, float]:
    return {" / ".join(sorted(each.runs)): each.wins(min(each.runs))}
