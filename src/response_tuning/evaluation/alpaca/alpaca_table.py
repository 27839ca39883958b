"""The result of ``rt eval alpaca`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.alpaca.alpaca_eval import AlpacaResult
from response_tuning.evaluation.alpaca.length_control import METHOD
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["alpaca_table"]


def alpaca_table(result: AlpacaResult) -> Table:
    """The win rates, and the lengths of the responses."""
    table = Table(title=f"{result.model} against {result.reference}, {result.instructions} instructions")
    table.add_column("")
    table.add_column("", justify="right")
    if result.win_rate is not None:
        table.add_row("win rate, percent", percent_cell(result.win_rate.estimate))
        table.add_row("its standard error", f"{100 * result.win_rate.standard_error:.2f}")
        table.add_row(
            "wins, losses, draws", f"{result.win_rate.wins}, {result.win_rate.losses}, {result.win_rate.draws}"
        )
    if result.length_controlled is not None:
        no_anchors = "" if result.length_controlled.method == METHOD else " (no anchors)"
        table.add_row(f"length-controlled win rate{no_anchors}", percent_cell(result.length_controlled.estimate))
    if result.agreement is not None:
        table.add_row("same verdict in both orders", percent_cell(result.agreement))
        table.add_row("without verdict", str(result.without_verdict))
    table.add_row("characters in a response", f"{result.characters.value:,.0f}")
    table.add_row("characters in the reference's", f"{result.reference_characters.value:,.0f}")
    return table
