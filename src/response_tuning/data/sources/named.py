"""The data sets of the paper, by name, each with its own field rule (An & Kim 2024, section 3; their released code)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.records import BadRow, Record
from response_tuning.example import Row
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError

__all__ = ["NAMED", "named_rows"]


@dataclass(frozen=True)
class _Named:
    """A published data set: which rows of its file are meant, and what their fields mean."""

    rows: int
    """The rows of the published file: the paper's subsets are drawn by their positions among all of them."""
    fields: Fields = field(default_factory=Fields)
    first: int | None = None
    """Only so many rows from the beginning."""
    two_turns: bool = False
    """Whether a row is a list of texts, of which the first two are the instruction and the response."""


_ALPACA_FIELDS = Fields(completion="output", prompt="instruction", context="input")

NAMED: dict[str, _Named] = {
    "alpaca": _Named(51_760, _ALPACA_FIELDS),
    "alpaca-original": _Named(52_002, _ALPACA_FIELDS),
    "dolly": _Named(15_011, Fields(completion="response", prompt="instruction", context="context")),
    # The last thirty are longer conversations, which the paper leaves out.
    "lima": _Named(1_030, first=1_000, two_turns=True),
    # Bianchi et al. 2024; the paper draws its refusals from them (refusals.py).
    "safety-tuned-llamas": _Named(2_483, _ALPACA_FIELDS),
}
"""Data sets by name. Those names are names of assets, too."""


def named_rows(name: str, *, offline: bool) -> list[Row | BadRow]:
    """The rows of a data set in their published order.

    Raises:
        UserError: its file cannot be had, or is not the published one.
    """
    dataset = NAMED[name]
    path = fetch(ASSETS[name], offline=offline)
    records = list(read_file(path))
    if len(records) != dataset.rows:
        raise UserError(f"{path} has {len(records)} rows, but {ASSETS[name].url} has {dataset.rows}. Delete it.")
    chosen: Iterable[Record | BadRow] = records[: dataset.first]
    return list(rows_from(_first_two_turns(chosen) if dataset.two_turns else chosen, dataset.fields))


def _first_two_turns(records: Iterable[Record | BadRow]) -> Iterator[Record | BadRow]:
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        turns = record.value.get("conversations") if isinstance(record.value, dict) else None
        if not isinstance(turns, list) or len(turns) < 2:
            yield BadRow(record.place, record.number, "has no list 'conversations' of two texts")
            continue
        others = {name: value for name, value in record.value.items() if name != "conversations"}
        yield Record(record.place, record.number, {"prompt": turns[0], "completion": turns[1], **others})
