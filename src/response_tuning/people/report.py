"""The results of a rating: in the terminal, as a page, and as CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.people.judgements import Judgement, identical_ties, judgements_of
from response_tuning.people.statistics import (
    Agreement,
    Rater,
    Strengths,
    acceptance,
    agreement,
    bradley_terry,
    preferences,
    raters,
)
from response_tuning.people.store import Store
from response_tuning.support.files import write_text
from response_tuning.support.page import write_page

__all__ = ["RatingSummary", "rating_summary", "rating_tables", "summarise", "write_rating_report"]


@dataclass(frozen=True)
class RatingSummary:
    """Everything that a report shows."""

    runs: list[str]
    votes: int
    acceptance: dict[str, Estimate]
    preferences: dict[tuple[str, str], dict[str, Estimate]]
    identical: int
    """Pairs of identical responses, each counted as a tie."""
    strengths: Strengths | None
    controlled: Strengths | None
    """The strengths with length control; None where there are no lengths."""
    agreement: dict[str, Agreement]
    raters: dict[str, Rater]


def rating_summary(store: Store) -> RatingSummary:
    """The results of an open rating, from the votes that there are."""
    return summarise(judgements_of(store), store.runs, ties=identical_ties(store))


def summarise(judgements: Sequence[Judgement], runs: Sequence[str], *, ties: Sequence[Judgement] = ()) -> RatingSummary:
    """The results of judgements.

    Args:
        judgements: Of all raters.
        runs: Names, in the order of tables.
        ties: Those that no rater had to see.
    """
    compared = [each for each in judgements if each.left_wins is not None]
    everything = [*judgements, *ties]
    has_lengths = bool(compared) and all(each.lengths for each in compared)
    kinds = {
        "acceptability": agreement(judgements, _acceptability, distance="nominal"),
        "level": agreement(judgements, _levels, distance="ordinal"),
        "preference": agreement(compared, _preference, distance="nominal"),
    }
    return RatingSummary(
        runs=list(runs),
        votes=len(judgements),
        acceptance=acceptance(judgements, runs),
        preferences=preferences(everything, runs),
        identical=len(ties),
        strengths=bradley_terry(everything, runs) if compared else None,
        controlled=bradley_terry(everything, runs, control_length=True) if has_lengths else None,
        agreement={name: found for name, found in kinds.items() if found is not None},
        raters=raters(judgements),
    )


def _acceptability(each: Judgement) -> dict[str, float]:
    return {run: float(value) for run, value in zip(each.runs, each.acceptable, strict=False)}


def _levels(each: Judgement) -> dict[str, float]:
    return {run: float(value) for run, value in zip(each.runs, each.levels, strict=False)}


def _preference(each: Judgement) -> dict[str, float]:
    return {" / ".join(sorted(each.runs)): each.wins(min(each.runs))}


def rating_tables(summary: RatingSummary) -> RenderableType:
    """The results in the terminal."""
    accepted = Table("run", "acceptable", "n prompts")
    for run, estimate in summary.acceptance.items():
        accepted.add_row(run, _percent(estimate), str(estimate.n))
    preferred = Table("pair", "first", "tie", "second", "n prompts")
    for (first, second), sides in summary.preferences.items():
        preferred.add_row(f"{first} / {second}", *(_percent(of) for of in sides.values()), str(sides["tie"].n))
    parts: list[RenderableType] = [accepted, preferred]
    if summary.strengths is not None:
        parts.append(_strengths_table(summary))
    if summary.agreement:
        parts.append(_agreement_table(summary))
    parts.append(_raters_table(summary))
    return Group(*parts)


def _strengths_table(summary: RatingSummary) -> Table:
    table = Table("run", "Bradley-Terry strength", "length-controlled")
    assert summary.strengths is not None
    for run, bounds in summary.strengths.strengths.items():
        controlled = "" if summary.controlled is None else _bounds(summary.controlled.strengths[run])
        table.add_row(run, _bounds(bounds), controlled)
    return table


def _agreement_table(summary: RatingSummary) -> Table:
    table = Table("agreement of raters", "prompts", "same", "tie counts half", "Krippendorff's alpha")
    for name, found in summary.agreement.items():
        table.add_row(
            name,
            str(found.prompts),
            f"{found.same:.0%}",
            f"{found.half_for_ties:.0%}",
            _bounds((found.alpha, found.low, found.high)),
        )
    return table


def _raters_table(summary: RatingSummary) -> Table:
    table = Table("rater", "votes", "preferences for the left", "median seconds")
    for name, rater in summary.raters.items():
        left = "" if rater.left is None else f"{rater.left:.0%}"
        table.add_row(name, str(rater.votes), left, f"{rater.seconds:.0f}")
    return table


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} ({estimate.low:.1%}-{estimate.high:.1%})"


def _bounds(bounds: tuple[float, float, float]) -> str:
    point, low, high = bounds
    return f"{point:+.2f} ({low:+.2f} to {high:+.2f})"


def write_rating_report(folder: Path, summary: RatingSummary) -> Path:
    """Write ``report.html`` and ``report.csv`` into the folder of a rating; returns the page's path."""
    write_text(folder / "report.csv", _csv(summary))
    write_page(folder / "report.html", "people/report.html.jinja", summary=summary)
    return folder / "report.html"


def _csv(summary: RatingSummary) -> str:
    """One estimate a row: measure, run or pair, value, bounds, n."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "about", "value", "low", "high", "n"])
    for run, of in summary.acceptance.items():
        writer.writerow(["acceptable", run, of.value, of.low, of.high, of.n])
    for (first, second), sides in summary.preferences.items():
        for side, of in sides.items():
            name = {"first": f"prefers {first}", "second": f"prefers {second}"}.get(side, side)
            writer.writerow([name, f"{first} / {second}", of.value, of.low, of.high, of.n])
    for name, found in summary.agreement.items():
        writer.writerow([f"alpha of {name}", "raters", found.alpha, found.low, found.high, found.prompts])
    for kind, strengths in (("strength", summary.strengths), ("length-controlled strength", summary.controlled)):
        for run, bounds in (strengths.strengths if strengths else {}).items():
            writer.writerow([kind, run, *bounds, ""])
    return file.getvalue()
