"""Measures that are computed from the texts of a labelled table, where the table holds no verdicts of them."""

from collections.abc import Callable, Mapping, Sequence

from response_tuning.evaluation.agreement.labelled import Labelled
from response_tuning.evaluation.shared.relevance import instruction_ranks
from response_tuning.evaluation.shared.responds import responds
from response_tuning.evaluation.shared.text_measures import copies, loops
from response_tuning.support.errors import UserError

__all__ = ["COMPUTED", "computed_verdicts"]

Verdicts = Sequence[bool | None]


def computed_verdicts(measure: str, rows: Sequence[Labelled]) -> Verdicts:
    """The verdict on each row, from its prompt, response and reference; None for a row without a reference.

    Raises:
        UserError: the measure cannot be computed from texts, or no row has the reference that it needs.
    """
    if measure not in COMPUTED:
        raise UserError(
            f"No labelled row has a value of {measure!r}, neither as a column nor in its 'values', and it cannot be "
            f"computed from the texts. Those that can: {', '.join(COMPUTED)}."
        )
    if not any(row.prompt and row.completion for row in rows):
        raise UserError(f"{measure!r} is computed from prompt and response, and no labelled row has both.")
    verdicts = COMPUTED[measure](rows)
    if all(verdict is None for verdict in verdicts):
        raise UserError(
            f"{measure!r} compares a response with a reference, and no labelled row has one (a column 'reference', or "
            "'completion' beside 'response'). Without references, use a judge (rt eval refusals, just or alpaca) or "
            "people's labels."
        )
    return verdicts


def _responds(rows: Sequence[Labelled]) -> Verdicts:
    return responds(
        [row.prompt for row in rows], [row.completion for row in rows], [row.reference or None for row in rows]
    )


def _on_topic(rows: Sequence[Labelled]) -> Verdicts:
    ranks = instruction_ranks([row.prompt for row in rows], [row.completion for row in rows])
    return [rank == 1 for rank in ranks]


COMPUTED: Mapping[str, Callable[[Sequence[Labelled]], Verdicts]] = {
    "loops": lambda rows: [loops(row.completion) for row in rows],
    "copies": lambda rows: [copies(row.prompt, row.completion) for row in rows],
    "on_topic": _on_topic,
    "responds": _responds,
}
"""What computes each measure, by its name."""
