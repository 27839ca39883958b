"""Metrics as tables in the terminal: for any evaluation whose result is an estimate per metric."""

from collections.abc import Mapping

from rich.table import Table

from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["metrics_columns", "metrics_table", "percent_cell"]

_MOST_COLUMNS = 6
"""Rates with intervals that fit beside names in 80 characters."""


def metrics_table(results: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """A row per model or format, a column per metric, each rate with its 95% confidence interval in percent.

    More metrics than fit into a terminal become rows (``metrics_columns``).
    """
    columns = list(next(iter(results.values())))
    if len(columns) > _MOST_COLUMNS:
        return metrics_columns(results)
    table = Table(caption="percent, with 95% confidence interval")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, metrics in results.items():
        table.add_row(name, *(percent_cell(metrics.get(column)) for column in columns))
    return table


def metrics_columns(results: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """The same with a row per metric and a column per model."""
    table = Table(caption="percent, with 95% confidence interval")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for metric in dict.fromkeys(metric for metrics in results.values() for metric in metrics):
        cells = (percent_cell(metrics[metric]) if metric in metrics else "" for metrics in results.values())
        table.add_row(metric, *cells)
    return table


def percent_cell(estimate: Estimate | None) -> str:
    """A rate with its interval in percent, such as ``50 (20-80)``; ``-`` for None."""
    if estimate is None:
        return "-"
    value, low, high = (round(100 * rate) for rate in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}-{high})"
