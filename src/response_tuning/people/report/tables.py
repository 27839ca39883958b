"""The results of a rating in the terminal."""

from math import isfinite

from rich.console import Group, RenderableType
from rich.table import Table

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.people.report.summary import RatingSummary
from response_tuning.people.statistics.strengths import Bounds

__all__ = ["rating_tables", "shown_bounds", "shown_estimate"]

JOINS = {
    "mean": "the mean of all raters",
    "majority": "the majority of raters, divided equally where as many say one thing as another",
    "dawid-skene": "Dawid and Skene's model of the raters' errors (1979)",
}
"""How votes were joined, in words."""


def rating_tables(summary: RatingSummary) -> RenderableType:
    """The results as tables; those without content are left out."""
    parts: list[RenderableType] = [
        f"{summary.votes:,} votes; a response's value is {JOINS[summary.join]}. "
        "In parentheses: 95% confidence intervals over prompts."
    ]
    for title, table in (
        ("Acceptable responses", _acceptance(summary)),
        ("Preferences", _preferences(summary)),
        ("Strengths", _strengths(summary)),
        ("Agreement of raters", _agreement(summary)),
        ("Raters", _raters(summary)),
        ("Measures against people", _proxies(summary)),
        ("Judges against people", _judges(summary)),
        ("Published", _published(summary)),
    ):
        if table.row_count:
            parts += ["", title, table]
    return Group(*parts)


def _acceptance(summary: RatingSummary) -> Table:
    table = Table("run", "acceptable", *summary.levels, "n prompts")
    for run, estimate in summary.acceptance.items():
        levels = [shown_estimate(of.get(run)) for of in summary.levels.values()]
        table.add_row(run, shown_estimate(estimate), *levels, str(estimate.n))
    return table


def _preferences(summary: RatingSummary) -> Table:
    table = Table("first", "second", "prefers first", "tie", "prefers second", "n prompts")
    for (first, second), sides in summary.preferences.items():
        table.add_row(first, second, *(shown_estimate(of) for of in sides.values()), str(sides["tie"].n))
    return table


def _strengths(summary: RatingSummary) -> Table:
    table = Table("run", "wins, a tie as half", "Bradley-Terry, log-odds", "at equal length")
    for run, bounds in (summary.strengths.of_runs if summary.strengths else {}).items():
        controlled = shown_bounds(summary.controlled.of_runs[run]) if summary.controlled else ""
        table.add_row(run, shown_estimate(summary.wins.get(run)), shown_bounds(bounds), controlled)
    if summary.controlled is not None and summary.controlled.length_effect is not None:
        table.add_row("twice the length", "", "", shown_bounds(summary.controlled.length_effect))
    return table


def _agreement(summary: RatingSummary) -> Table:
    table = Table("about", "n prompts", "same", "tie counts half", "Krippendorff's alpha")
    for name, found in summary.agreement.items():
        alpha = "not defined: all say the same"
        if found.alpha is not None and found.low is not None and found.high is not None:
            alpha = shown_bounds((found.alpha, found.low, found.high))
        table.add_row(name, str(found.prompts), f"{found.same:.0%}", f"{found.half_for_ties:.0%}", alpha)
    return table


def _raters(summary: RatingSummary) -> Table:
    table = Table("rater", "votes", "prefers the left", "median seconds", "agrees with others", "attention checks")
    for name, rater in summary.raters.items():
        passed, answered = rater.checks
        checks = f"{passed} of {answered}" if answered else ""
        table.add_row(
            *(name, str(rater.votes), shown_estimate(rater.left), f"{rater.seconds:.1f}"),
            *(shown_estimate(rater.agreement), checks),
        )
    return table


def _proxies(summary: RatingSummary) -> Table:
    table = Table("measure", "n", "agreement", "kappa", "measure minus people", "AUC", "accepted, by rising value")
    for proxy in summary.proxies:
        bins = "  ".join(f"{value:g}: {accepted:.0%} of {n}" for value, accepted, n in proxy.bins)
        excess = "" if proxy.excess is None else _signed(proxy.excess)
        table.add_row(
            *(proxy.measure, str(proxy.n), shown_estimate(proxy.agreement), _plain(proxy.kappa)),
            *(excess, _plain(proxy.auc), bins),
        )
    return table


def _judges(summary: RatingSummary) -> Table:
    table = Table("judge", "n pairs", "agreement", "kappa", "agreement without ties")
    for judge in summary.judges:
        table.add_row(
            *(judge.judge, str(judge.pairs), shown_estimate(judge.agreement)),
            *(_plain(judge.kappa), shown_estimate(judge.decided)),
        )
    return table


def _published(summary: RatingSummary) -> Table:
    table = Table("what", "value", "source")
    for result in summary.published:
        table.add_row(result.what, result.value, result.source)
    return table


def shown_estimate(estimate: Estimate | None) -> str:
    """A proportion with its interval; empty for None."""
    if estimate is None:
        return ""
    return f"{estimate.value:.1%} ({estimate.low:.1%}-{estimate.high:.1%})"


def _plain(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.1%} ({estimate.low:+.1%} to {estimate.high:+.1%})"


def shown_bounds(bounds: Bounds) -> str:
    """A number with the bounds of its interval. Votes that length or one side explains entirely have no finite one."""
    if not isfinite(bounds[0]):
        return "no finite estimate"
    point, low, high = (
        f"{value:+.2f}" if isfinite(value) else "-unbounded" if value < 0 else "unbounded" for value in bounds
    )
    return f"{point} ({low} to {high})"
