"""A data spec into examples: a data set by name, one of the hub, or local files of any usual format."""

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal

from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.data.sources.hub import hub_records
from response_tuning.data.sources.named import NAMED, named_rows
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.records import BadRow
from response_tuning.example import Example, Row, only_good
from response_tuning.support.options import STARTER

__all__ = [
    "HUB_PREFIX",
    "STARTER_HELD_OUT",
    "STARTER_LOOK_ALIKES",
    "STARTER_REFUSALS",
    "SourceOptions",
    "SplitAt",
    "load_examples",
    "read_rows",
]

STARTER_HELD_OUT = "starter-held-out"
"""The data spec of the starter set's held-out pairs."""
STARTER_REFUSALS = "starter-refusals"
"""The data spec of the starter set's refusals of unsafe requests."""
STARTER_LOOK_ALIKES = "starter-look-alikes"
"""The data spec of the harmless requests that look like those, and their answers; row k goes with refusal k."""
HUB_PREFIX = "hub:"
"""What stands before the id of a data set on the Hugging Face hub."""

SplitAt = Literal["files", "headings"]
"""What makes a response of a text file: the file, or each section."""

_PACKAGED = {
    STARTER: "train.jsonl",
    STARTER_HELD_OUT: "held_out.jsonl",
    STARTER_REFUSALS: "refusals.jsonl",
    STARTER_LOOK_ALIKES: "look_alikes.jsonl",
}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read a source. The defaults fit files of this program and the data sets that it knows by name."""

    fields: Fields = field(default_factory=Fields)
    split_at: SplitAt = "files"
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    offline: bool = False


def read_rows(spec: str, options: SourceOptions | None = None) -> list[Row | BadRow]:
    """Read every row that ``spec`` names, good and bad, in order.

    Args:
        spec: ``starter``, ``starter-held-out``, ``starter-refusals``, ``starter-look-alikes``, ``alpaca``,
            ``alpaca-original``, ``dolly``, ``lima``, ``hub:OWNER/NAME``, a file (JSONL, JSON, CSV, TSV, Parquet, .md,
            .txt; gzipped or not) or a folder of texts.

    Raises:
        UserError: there is nothing of that name, or it cannot be fetched, or is no file of its format.
    """
    options = options or SourceOptions()
    if spec in _PACKAGED:
        with as_file(files("response_tuning.data.starter") / _PACKAGED[spec]) as path:
            return list(rows_from(read_file(path), options.fields))
    if spec in NAMED:
        return named_rows(spec, offline=options.offline)
    if spec.startswith(HUB_PREFIX):
        records = hub_records(
            spec.removeprefix(HUB_PREFIX),
            subset=options.subset,
            split=options.split,
            revision=options.revision,
            offline=options.offline,
        )
        return list(rows_from(records, options.fields))
    return list(rows_from(read_file(Path(spec), split_at=options.split_at), options.fields))


def load_examples(spec: str, *, offline: bool = False) -> list[Example]:
    """Read the examples that ``spec`` names (see ``read_rows``).

    Raises:
        UserError: there is no such source, or it has bad rows; all of them are named.
    """
    return only_good(read_rows(spec, SourceOptions(offline=offline)), source=spec)
