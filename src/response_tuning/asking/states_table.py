"""Counts of rows by state, as a table in the terminal."""

from collections.abc import Mapping

from rich.table import Table

__all__ = ["states_table"]


def states_table(states: Mapping[str, int]) -> Table:
    """Rows by state, with the percentage of each."""
    total = sum(states.values())
    table = Table()
    table.add_column("state")
    table.add_column("rows", justify="right")
    table.add_column("percent", justify="right")
    for state, count in states.items():
        table.add_row(state, f"{count:,}", f"{count / total:.1%}")
    return table
