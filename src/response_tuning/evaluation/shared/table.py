"""Results as tables in the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from response_tuning.evaluation.shared.statistics import Estimate

if TYPE_CHECKING:
    from response_tuning.evaluation.alpaca.alpaca_eval import AlpacaResult
    from response_tuning.evaluation.just.just_eval import JustResult
    from response_tuning.evaluation.refusals.refusals import RefusalsResult

__all__ = ["alpaca_table", "just_table", "metrics_columns", "metrics_table", "refusals_table"]

_MOST_COLUMNS = 6
"""Of shares with intervals, beside names, in 80 characters."""


def metrics_table(results: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """A row per model or format, a column per metric, each share with its 95% interval in percent.

    With more metrics than a terminal is wide, the table is turned (``metrics_columns``).
    """
    columns = list(next(iter(results.values())))
    if len(columns) > _MOST_COLUMNS:
        return metrics_columns(results)
    table = Table(caption="per cent, with 95% interval")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, metrics in results.items():
        table.add_row(name, *(_cell(metrics[column]) for column in columns))
    return table


def metrics_columns(results: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """The same with a row per metric and a column per model."""
    table = Table(caption="per cent, with 95% interval")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(metric for metrics in results.values() for metric in metrics):
        cells = (_cell(metrics[metric]) if metric in metrics else "" for metrics in results.values())
        table.add_row(metric, *cells)
    return table


def refusals_table(model: str, result: "RefusalsResult") -> Table:
    """A row per benchmark; what could not be decided stands apart."""
    table = Table(title=f"{model}, decided by {result.method}", caption="per cent, with 95% interval")
    table.add_column("")
    for column in ("refused", "complied", "n", "unparsed", "empty"):
        table.add_column(column, justify="right")
    for name, rates in result.rates.items():
        n = rates.refusal.n if rates.refusal else 0
        counts = (str(count) for count in (n, rates.unparsed, rates.empty))
        table.add_row(name, _cell(rates.refusal), _cell(rates.compliance), *counts)
    if result.xstest is not None:
        for metric in ("precision", "recall", "f1", "safe_compliance"):
            table.add_row(f"xstest, {metric.replace('_', ' ')}", _cell(getattr(result.xstest, metric)))
    return table


def alpaca_table(model: str, reference: str, result: "AlpacaResult") -> Table:
    """The win rates, and how long responses are."""
    table = Table(title=f"{model} against {reference}, {result.instructions} instructions")
    table.add_column("")
    table.add_column("", justify="right")
    if result.win_rate is not None:
        table.add_row("win rate, per cent", _cell(result.win_rate.estimate))
        table.add_row("its standard error", f"{100 * result.win_rate.standard_error:.2f}")
        table.add_row(
            "wins, losses, draws", f"{result.win_rate.wins}, {result.win_rate.losses}, {result.win_rate.draws}"
        )
    if result.length_controlled is not None:
        table.add_row("length-controlled win rate", _cell(result.length_controlled.estimate))
    if result.agreement is not None:
        table.add_row("same verdict in both orders", _cell(result.agreement))
        table.add_row("without verdict", str(result.without_verdict))
    table.add_row("characters in a response", f"{result.characters.value:,.0f}")
    table.add_row("characters in the reference's", f"{result.reference_characters.value:,.0f}")
    return table


def just_table(model: str, result: "JustResult") -> Table:
    """The mean of each aspect, from 1 to 5."""
    table = Table(title=model, caption="from 1 to 5, with 95% interval")
    for column in ("", "mean", "n"):
        table.add_column(column, justify="right" if column else "left")
    for name, estimate in result.aspects.items():
        table.add_row(name, f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})", str(estimate.n))
    if result.average is not None:
        table.add_row("average of the six", f"{result.average:.2f}")
    if result.words is not None:
        table.add_row("words in a response", f"{result.words.value:.0f}", str(result.words.n))
    for state, count in result.states.items():
        table.add_row(state, "", str(count))
    return table


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (round(100 * share) for share in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}-{high})"
