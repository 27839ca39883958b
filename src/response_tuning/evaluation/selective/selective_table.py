"""The result of ``rt eval selective`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.selective.selective_result import Selection, SelectiveResult
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["selective_table"]

_ROWS = (
    "AURC",
    "of the oracle",
    "of chance",
    "gain over chance",
    "Pearson",
    "Spearman",
    "threshold",
    "coverage, percent",
    "quality, percent",
    "quality of all, percent",
)


def selective_table(model: str, result: SelectiveResult) -> Table:
    """A column per confidence: the area under its risk-coverage curve, and what its threshold does."""
    table = Table(title=f"{model}, quality decided by {result.decided_by}", caption=_caption(result))
    table.add_column("")
    for name in result.selections:
        table.add_column(name, justify="right")
    columns = [_cells(selection) for selection in result.selections.values()]
    for number, row in enumerate(_ROWS):
        table.add_row(row, *(cells[number] for cells in columns), end_section=number in (3, 5))
    return table


def _cells(selection: Selection) -> list[str]:
    areas, chosen = selection.risk_coverage, selection.abstention
    return [
        _area(areas.aurc),
        f"{areas.oracle:.3f}",
        f"{areas.random:.3f}",
        _area(areas.gain),
        *(["-", "-"] if (both := selection.correlation) is None else [_area(both.pearson), _area(both.spearman)]),
        "none reaches it" if chosen.threshold is None else f"{chosen.threshold:.3f}",
        percent_cell(chosen.coverage),
        percent_cell(chosen.quality),
        percent_cell(chosen.quality_of_all),
    ]


def _caption(result: SelectiveResult) -> str:
    lines = [f"with 95% bootstrap confidence interval; correlations with {result.scored_by}"]
    for selection in list(result.selections.values())[:1]:
        chosen = selection.abstention
        lines.append(
            f"threshold for a quality of {100 * chosen.wanted_quality:g} percent: chosen on {chosen.chosen_on} "
            f"responses, coverage and quality on {chosen.coverage.n} others"
        )
    if result.digit_share is not None:
        lines.append(f"asked for a rating, the model gives one with probability {result.digit_share.value:.2f}")
    lines.append(", ".join(f"{count} {state}" for state, count in result.states.items()))
    return "\n".join(lines)


def _area(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
