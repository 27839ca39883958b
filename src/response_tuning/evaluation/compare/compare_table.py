"""The result of ``rt compare`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.compare.comparison import Comparison, TaskComparison
from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["comparison_table"]


def comparison_table(comparison: Comparison, task: str) -> Table:
    """A row per metric and run: n, the value, and the difference to the first run, in the metric's own unit.

    A difference whose interval excludes zero is bold.
    """
    first, *_ = comparison.runs
    compared = comparison.tasks[task]
    table = Table(title=f"{task}, {compared.prompts} prompts", caption=_caption(compared), title_justify="left")
    for header in ("", "run"):
        table.add_column(header)
    has_p = any(values.p_values for values in compared.metrics.values())
    for header in ("n", "value", f"above {first}", *(["p"] if has_p else [])):
        table.add_column(header, justify="right")
    for metric, values in compared.metrics.items():
        for run, estimate in values.values.items():
            difference = values.differences.get(run)
            table.add_row(
                metric if run == first else "",
                run,
                str(estimate.n),
                f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})",
                "" if difference is None else _difference_cell(difference),
                *([_p_cell(values.p_values.get(run))] if has_p else []),
                end_section=run == list(values.values)[-1],
            )
    return table


def _caption(compared: TaskComparison) -> str:
    parts = ["with 95% confidence interval; differences are paired by prompt"]
    if any(values.p_values for values in compared.metrics.values()):
        parts.append("p adjusted by Holm's method")
    left_out = [f"{count} of {run}" for run, count in compared.left_out.items() if count]
    if left_out:
        parts.append(f"excluded, because not all runs have them: {', '.join(left_out)}")
    if len(set(compared.formats.values())) > 1:
        parts.append("chat formats: " + ", ".join(f"{name} in {run}" for run, name in compared.formats.items()))
    return "; ".join(parts)


def _p_cell(p: float | None) -> str:
    return "" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001"


def _difference_cell(difference: Estimate) -> str:
    text = f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"
    return text if difference.low <= 0 <= difference.high else f"[bold]{text}[/bold]"
