"""How questions ended, as a table on the terminal."""

from collections.abc import Mapping

from rich.table import Table

__all__ = ["states_table"]


def states_table(states: Mapping[str, int]) -> Table:
    """Rows by state, with their shares."""
    total = sum(states.values())
    table = Table()
    table.add_column("state")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    for state, count in states.items():
        table.add_row(state, f"{count:,}", f"{count / total:.1%}")
    return table
