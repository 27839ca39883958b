"""The result of ``rt eval checklist`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.checklist.checklist import ChecklistResult
from response_tuning.evaluation.checklist.checklist_config import ChecklistConfig
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["checklist_table"]


def checklist_table(config: ChecklistConfig, result: ChecklistResult) -> Table:
    """Wins, ties and losses against the reference, with the users' checklist in view and without it."""
    table = Table(
        title=f"{config.model} against {config.reference}",
        caption="both orders; a tie is a tie, or orders that contradict each other; with 95% confidence interval",
    )
    for column in ("", "preferred, percent", "win", "tie", "lose", "same in both orders, percent"):
        table.add_column(column, justify="right" if column else "left")
    for mode, outcomes in result.outcomes.items():
        counts = (outcomes.wins, outcomes.ties, outcomes.losses)
        table.add_row(mode, percent_cell(outcomes.preference), *map(str, counts), percent_cell(outcomes.agreement))
    if result.without_verdict:
        table.add_row("without verdict", str(result.without_verdict))
    if result.without_response:
        table.add_row("rows without response", str(result.without_response))
    return table
