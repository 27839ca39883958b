"""The result of ``rt eval just`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.just.just_eval import JustResult

__all__ = ["just_table"]


_CAPTION = (
    "from 1 to 5, with 95% confidence interval. A rating with N/A for one aspect is unparsed and counts for none; "
    "just_eval counts N/A as 5"
)


def just_table(model: str, result: JustResult) -> Table:
    """The mean of each aspect, from 1 to 5."""
    table = Table(title=model, caption=_CAPTION)
    for column in ("", "mean", "n"):
        table.add_column(column, justify="right" if column else "left")
    for name, estimate in result.aspects.items():
        table.add_row(name, f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})", str(estimate.n))
    if result.overall is not None:
        overall = result.overall
        table.add_row(
            "overall (the five)", f"{overall.value:.2f} ({overall.low:.2f}-{overall.high:.2f})", str(overall.n)
        )
    if result.average is not None:
        table.add_row("average of the six", f"{result.average:.2f}")
    if result.words is not None:
        table.add_row("words in a response", f"{result.words.value:.0f}", str(result.words.n))
    for state, count in result.states.items():
        table.add_row(state, "", str(count))
    return table
