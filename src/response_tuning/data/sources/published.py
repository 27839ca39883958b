"""The data sets of the paper, by name, each with its own field rule (An & Kim 2024, section 3; their released code);
and AlpacaEval's, to measure on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.source import SourceOptions
from response_tuning.example import Row
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record

__all__ = ["PUBLISHED", "PublishedSets", "published_rows"]


@dataclass(frozen=True)
class _Published:
    """A published data set: the rows of its file to use, and the meaning of their fields."""

    rows: int
    """Rows in the published file: the paper draws its subsets by position among all of them."""
    fields: Fields = field(default_factory=Fields)
    first: int | None = None
    """Use only the first rows of the file; None uses all."""
    two_turns: bool = False
    """Whether a row is a list of texts, of which the first two are the instruction and the response."""
    asset: str = ""
    """The asset that holds it, if that has another name."""


_ALPACA_FIELDS = Fields(completion="output", prompt="instruction", context="input")

PUBLISHED: dict[str, _Published] = {
    "alpaca": _Published(51_760, _ALPACA_FIELDS),
    "alpaca-original": _Published(52_002, _ALPACA_FIELDS),
    "dolly": _Published(15_011, Fields(completion="response", prompt="instruction", context="context")),
    # The last thirty are longer conversations, which the paper leaves out.
    "lima": _Published(1_030, first=1_000, two_turns=True),
    # Bianchi et al. 2024; the paper draws its refusals from them (mix_refusals.py).
    "safety-tuned-llamas": _Published(2_483, _ALPACA_FIELDS),
    # Evaluation prompts, with the responses of AlpacaEval's own reference: for rt probe and rt quickstart.
    "alpaca-eval": _Published(805, Fields(completion="output", prompt="instruction"), asset="gpt4_1106_preview"),
}
"""Data sets by name."""


class PublishedSets:
    """Published data sets by name: fetched once, then read from the cache."""

    help = f"a published data set ({', '.join(PUBLISHED)})"

    def accepts(self, spec: str) -> bool:
        """Whether it is one of their names."""
        return spec in PUBLISHED

    def read(self, spec: str, options: SourceOptions) -> list[Row | BadRow]:
        """The rows in their published order. Their fields are known, so ``options.fields`` is ignored."""
        return published_rows(spec, offline=options.offline)


def published_rows(name: str, *, offline: bool) -> list[Row | BadRow]:
    """The rows of a data set in their published order.

    Raises:
        UserError: its file cannot be fetched, or is not the published one.
    """
    dataset = PUBLISHED[name]
    asset = ASSETS[dataset.asset or name]
    path = fetch(asset, offline=offline)
    records = list(read_file(path))
    if len(records) != dataset.rows:
        raise UserError(f"{path} has {len(records)} rows, but {asset.url} has {dataset.rows}. Delete it.")
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
