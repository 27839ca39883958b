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


def load_examples(spec: str, *, offline: bool = False) -> list[Example]:
    """Read the examples that ``spec`` names (see ``read_rows``).

    Raises:
        UserError: no source accepts it, or it has bad rows; the message lists them.
    """
    return only_good(read_rows(spec, SourceOptions(offline=offline)), source=spec)
