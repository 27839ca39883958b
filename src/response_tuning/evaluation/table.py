"""Probe results as a table in the terminal."""

from collections.abc import Mapping

from rich.table import Table

from response_tuning.evaluation.statistics import Estimate

__all__ = ["metrics_table"]


def metrics_table(results: Mapping[str, Mapping[str, Estimate]]) -> Table:
    """A row per model or format, a column per metric, each share with its 95% interval in percent."""
    columns = list(next(iter(results.values())))
    table = Table(caption="per cent, with 95% bootstrap interval")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    for name, metrics in results.items():
        table.add_row(name, *(_cell(metrics[column]) for column in columns))
    return table


def _cell(estimate: Estimate) -> str:
    value, low, high = (round(100 * share) for share in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low}-{high})"
