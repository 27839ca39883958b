"""Data sets of the Hugging Face hub, or a local folder in the hub's form."""

import os
from collections.abc import Iterator

from response_tuning.data.sources.fields import rows_from
from response_tuning.data.sources.source import SourceOptions
from response_tuning.example import Row
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.records import BadRow, Record, table_record

__all__ = ["HUB_PREFIX", "HubDataSet"]

HUB_PREFIX = "hub:"
"""Marks the id of a data set on the Hugging Face hub."""


class HubDataSet:
    """One split of a data set on the hub, through the library ``datasets``."""

    help = f"a data set of the Hugging Face hub ({HUB_PREFIX}OWNER/NAME)"

    def accepts(self, spec: str) -> bool:
        """Whether it has the hub's prefix."""
        return spec.startswith(HUB_PREFIX)

    def read(self, spec: str, options: SourceOptions) -> Iterator[Row | BadRow]:
        """The rows of the split.

        Raises:
            UserError: the library is not installed, or there is no such data set, configuration or split.
        """
        records = _records(spec.removeprefix(HUB_PREFIX), options)
        return rows_from(records, options.fields, source=spec, layout=options.layout, keeps_system=options.keeps_system)


def _records(name: str, options: SourceOptions) -> Iterator[Record | BadRow]:
    require_extra("datasets", "hub", purpose="Reading a data set of the hub")
    if options.offline:  # read when the library is imported
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(name, options.subset, split=options.split, revision=options.revision)
    # The library and the hub's client raise many kinds of errors; all of them are about the data set asked for.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The data set {name!r} (split {options.split!r}) cannot be loaded: {reason}") from error
    for number, row in enumerate(rows, start=1):
        yield table_record(f"{HUB_PREFIX}{name} row {number}", number, row)
