"""Read the examples that a data spec names: a data set by name, one of the hub, or local files."""

from response_tuning.data.sources.source import SourceOptions
from response_tuning.data.sources.source_registry import find_source
from response_tuning.data.sources.starter_sets import (
    STARTER_HELD_OUT,
    STARTER_LOOK_ALIKES,
    STARTER_REFUSALS,
    STARTER_TEST,
)
from response_tuning.example import Example, Row, only_good
from response_tuning.support.records import BadRow

__all__ = [
    "STARTER_HELD_OUT",
    "STARTER_LOOK_ALIKES",
    "STARTER_REFUSALS",
    "STARTER_TEST",
    "SourceOptions",
    "load_examples",
    "read_rows",
]


def read_rows(spec: str, options: SourceOptions | None = None) -> list[Row | BadRow]:
    """Read every row that ``spec`` names, good and bad, in order.

    Args:
        spec: what any source of ``source_registry.py`` accepts, such as ``starter``, ``alpaca``, ``hub:OWNER/NAME``,
            a file, or a folder of texts.
        options: how to read it.

    Raises:
        UserError: no source accepts it, or the data cannot be read or fetched.
    """
    return list(find_source(spec).read(spec, options or SourceOptions()))


def load_examples(spec: str, *, offline: bool = False, verdicts: bool = False, systems: bool = False) -> list[Example]:
    """Read the examples that ``spec`` names (see ``read_rows``).

    Args:
        spec: the data.
        offline: whether nothing may be fetched.
        verdicts: whether responses that are marked as bad ones are wanted.
        systems: whether rows keep their system message in the field ``system``, besides at the head of a user's turn.

    Raises:
        UserError: no source accepts it, or it has bad rows; the message lists them.
    """
    rows = read_rows(spec, SourceOptions(offline=offline, keeps_system=systems))
    return only_good(rows if verdicts else [_not_undesirable(row) for row in rows], source=spec)


def _not_undesirable(row: Row | BadRow) -> Row | BadRow:
    """The row, but a bad one where the data set marks its response as undesirable."""
    if isinstance(row, BadRow) or (row.example.model_extra or {}).get("desirable") is not False:
        return row
    return BadRow(
        row.place,
        row.number,
        "is marked as an undesirable response ('desirable', 'label' or 'kto_tag' is false): nothing should learn from "
        "it. Leave such rows out, rename the field if it means something else, or train on both kinds by rt train "
        "--preference-loss kto.",
    )
