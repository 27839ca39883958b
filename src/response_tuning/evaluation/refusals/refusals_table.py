"""The result of ``rt eval refusals`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.refusals.keyword_recall import describe_recall
from response_tuning.evaluation.refusals.refusal_keywords import METHOD
from response_tuning.evaluation.refusals.refusals import RefusalsResult
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["refusals_table"]


def refusals_table(model: str, result: RefusalsResult) -> Table:
    """A row per benchmark; undecided responses have columns of their own.

    Where keywords decided, ``likely`` is the range that their known recall leaves for the true rate of refusal.
    """
    by_keywords = result.method == METHOD
    caption = "percent, with 95% confidence interval"
    if by_keywords:
        caption += f"; likely: the true rate of refusal, since keywords miss some ({describe_recall()})"
    table = Table(title=f"{model}, decided by {result.method}", caption=caption)
    table.add_column("")
    for column in ("refused", *(["likely"] if by_keywords else []), "complied", "n", "unparsed", "empty"):
        table.add_column(column, justify="right")
    for name, rates in result.rates.items():
        n = rates.refusal.n if rates.refusal else 0
        counts = (str(count) for count in (n, rates.unparsed, rates.empty))
        likely = [_range(result.likely.get(name))] if by_keywords else []
        table.add_row(name, percent_cell(rates.refusal), *likely, percent_cell(rates.compliance), *counts)
    for name, mean in result.means.items():
        table.add_row(f"{name.removeprefix('refused, ')}, mean of rates", percent_cell(mean))
    if result.xstest is not None:
        for metric in ("precision", "recall", "f1", "safe_compliance"):
            table.add_row(f"xstest, {metric.replace('_', ' ')}", percent_cell(getattr(result.xstest, metric)))
    return table


def _range(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{100 * bounds[0]:.0f}-{100 * bounds[1]:.0f}"
