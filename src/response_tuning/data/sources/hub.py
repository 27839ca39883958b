"""Any data set of the Hugging Face hub, or a folder laid out like one."""

import os
from collections.abc import Iterator

from response_tuning.data.sources.records import BadRow, Record, table_record
from response_tuning.support.errors import UserError

__all__ = ["hub_records"]


def hub_records(
    name: str, *, subset: str | None, split: str, revision: str | None, offline: bool
) -> Iterator[Record | BadRow]:
    """The rows of one split of a data set.

    Args:
        name: an id on the hub, such as ``OWNER/NAME``, or a folder.
        subset: the configuration, where the data set has several.
        split: the split, such as ``train``.
        revision: a commit or tag; the newest where it is None.
        offline: take what the hub's own cache holds and fetch nothing.

    Raises:
        UserError: the library is not installed, or there is no such data set, configuration or split.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    try:
        import datasets
    except ImportError:
        raise UserError("Data sets of the hub need one more package: pip install 'response-tuning[hub]'.") from None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(name, subset, split=split, revision=revision)
    # The library raises errors of many kinds, some of the hub's client; all of them are about what was asked for.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The data set {name!r} (split {split!r}) cannot be loaded: {reason}") from None
    for number, row in enumerate(rows, start=1):
        yield table_record(f"hub:{name} row {number}", number, row)
