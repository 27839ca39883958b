"""A comparison as one self-contained HTML page. Numbers are computed here and drawn by ``compare.html.jinja``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.evaluation.compare.comparison import Comparison, MetricComparison
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.token_shift.shift_report import ShiftView
from response_tuning.support.page import write_page

__all__ = ["write_comparison"]

_PLOT_WIDTH = 320


@dataclass(frozen=True)
class _Row:
    """One run in one metric, and its difference to the first run as horizontal positions in the plot."""

    metric: str
    """Empty except in the first row of a metric."""
    run: str
    value: Estimate
    difference: Estimate | None
    p: float | None
    is_apart: bool
    """Whether the interval of the difference excludes zero."""
    low: float
    middle: float
    high: float


def write_comparison(comparison: Comparison, path: Path, *, shifts: Sequence[ShiftView] = ()) -> None:
    """Write a comparison to ``path``, with the token shift of those runs that have it; equal input, equal pages."""
    rows = {
        task: [row for metric, values in compared.metrics.items() for row in _rows(metric, values)]
        for task, compared in comparison.tasks.items()
    }
    write_page(
        path,
        "evaluation/compare/compare.html.jinja",
        comparison=comparison,
        first=next(iter(comparison.runs)),
        rows=rows,
        findings=_findings(rows),
        shifts=shifts,
        has_p=any(row.p is not None for shown in rows.values() for row in shown),
        plot_width=_PLOT_WIDTH,
    )


def _rows(metric: str, values: MetricComparison) -> list[_Row]:
    """A metric's rows, with plots on one scale and zero in the middle."""
    bounds = [bound for difference in values.differences.values() for bound in (difference.low, difference.high)]
    reach = max(map(abs, bounds)) or 1.0

    def place(difference: float) -> float:
        return _PLOT_WIDTH * (0.5 + 0.5 * difference / reach)

    rows = []
    for run, value in values.values.items():
        difference = values.differences.get(run)
        shown = difference or Estimate(0.0, value.n, 0.0, 0.0)
        rows.append(
            _Row(
                "" if difference else metric,
                run,
                value,
                difference,
                values.p_values.get(run),
                difference is not None and not difference.low <= 0 <= difference.high,
                place(shown.low),
                place(shown.value),
                place(shown.high),
            )
        )
    return rows


def _findings(rows: dict[str, list[_Row]]) -> dict[str, str]:
    """Per task, the result in words, with computed counts."""
    findings = {}
    for task, shown in rows.items():
        differences = [row for row in shown if row.difference is not None]
        apart = sum(row.is_apart for row in differences)
        findings[task] = (
            f"{apart} of {len(differences)} differences have an interval that excludes zero; between equal runs, about "
            f"one in twenty would."
        )
    return findings
