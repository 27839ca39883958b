"""The result of ``rt eval refusals`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.refusals.refusals import RefusalsResult
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["refusals_table"]


def refusals_table(model: str, result: RefusalsResult) -> Table:
    """A row per benchmark; undecided responses have columns of their own."""
    table = Table(title=f"{model}, decided by {result.method}", caption="percent, with 95% confidence interval")
    table.add_column("")
    for column in ("refused", "complied", "n", "unparsed", "empty"):
        table.add_column(column, justify="right")
    for name, rates in result.rates.items():
        n = rates.refusal.n if rates.refusal else 0
        counts = (str(count) for count in (n, rates.unparsed, rates.empty))
        table.add_row(name, percent_cell(rates.refusal), percent_cell(rates.compliance), *counts)
    if result.xstest is not None:
        for metric in ("precision", "recall", "f1", "safe_compliance"):
            table.add_row(f"xstest, {metric.replace('_', ' ')}", percent_cell(getattr(result.xstest, metric)))
    return table
