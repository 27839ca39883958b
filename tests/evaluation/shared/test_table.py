"""Results as tables."""

from io import StringIO

from rich.console import Console

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.shared.table import metrics_columns, metrics_table


def test_a_row_per_metric_leaves_empty_what_a_model_was_not_measured_on() -> None:
    half, third = Estimate(0.5, 10, 0.2, 0.8), Estimate(0.3333, 30, 0.2, 0.5)
    console = Console(file=StringIO(), width=80)
    console.print(metrics_columns({"base": {"piqa acc": half}, "rt": {"piqa acc": third, "mmlu acc": half}}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert cells == [["piqa acc", "50 (20-80)", "33 (20-50)"], ["mmlu acc", "", "50 (20-80)"]]


def test_a_table_with_too_many_metrics_for_a_terminal_is_turned() -> None:
    half = Estimate(0.5, 10, 0.2, 0.8)
    few = {"base": {f"metric {number}": half for number in range(6)}}
    many = {"base": few["base"] | {"one more": half}}
    assert [len(table.columns) for table in (metrics_table(few), metrics_table(many))] == [7, 2]
