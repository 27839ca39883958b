"""Local files of any usual format into records: JSONL, JSON, CSV, Parquet, text; compressed or not.

A reader yields a record, or a bad row, for each row of the file, in order. ``fields.py`` decides later what a record
means.
"""

import io
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from response_tuning.data.sources.csv_files import read_csv
from response_tuning.data.sources.folders import files_of_rows
from response_tuning.data.sources.json_files import read_json, read_json_lines
from response_tuning.data.sources.source import SplitAt
from response_tuning.data.sources.text_folder import TEXT_SUFFIXES, read_text, read_text_folder
from response_tuning.data.sources.workbooks import holds_workbook, read_workbook
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.input_files import Records, read_bytes, suffix_of
from response_tuning.support.records import BadRow, table_record

__all__ = ["FORMATS", "read_file"]


def read_file(path: Path, *, split_at: SplitAt = "files", split: str = "train") -> Records:
    """Read a file by its suffix and content, or a folder: the rows of its files, or its texts.

    Args:
        path: a file in one of ``FORMATS`` or a text file (compressed or not), or a folder of such files.
        split_at: "headings" splits text at Markdown headings; "files" makes one record of each file.
        split: of a folder whose files of rows are named after splits, the one to read.

    Raises:
        UserError: there is no such file, or it is not in the format that its suffix names.
    """
    if path.is_dir():
        files = files_of_rows(path, tuple(FORMATS), split)
        return chain.from_iterable(map(read_file, files)) if files else read_text_folder(path, split_at)
    if holds_workbook(path):
        return read_workbook(path)
    table = _typed_table(path)
    if table is not None:
        return table(path)
    suffix = suffix_of(path)
    if suffix in TEXT_SUFFIXES:
        return read_text(path, path.name, split_at)
    if suffix in _NO_ROWS and path.is_file():
        raise UserError(f"{path} is {_NO_ROWS[suffix]} file, which is not read. Write its rows as JSONL or CSV.")
    # A file with any other suffix is read as JSONL.
    return FORMATS.get(suffix, read_json_lines)(path)


def _typed_table(path: Path) -> Callable[[Path], Records] | None:
    """The reader of a typed table, which its first bytes show whatever its name is."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PAR1"):
        return _read_parquet
    return _read_arrow if start.startswith(b"ARROW1") else None


def _read_parquet(path: Path) -> Records:
    require_extra("pyarrow", "hub", purpose=f"Reading {path}")
    from pyarrow import ArrowException, parquet

    content = read_bytes(path)
    number = 0
    try:
        for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches():
            for row in _table_rows(batch):
                number += 1
                place = f"{path} row {number}"
                yield BadRow(place, number, row) if isinstance(row, str) else table_record(place, number, row)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from error


def _read_arrow(path: Path) -> Records:
    """A table as the library ``datasets`` saves it on the disk."""
    require_extra("pyarrow", "hub", purpose=f"Reading {path}")
    from pyarrow import ArrowException, ipc

    content = read_bytes(path)
    number = 0
    try:
        opened = ipc.open_file(content) if content.startswith(b"ARROW1") else ipc.open_stream(content)
        for batch in opened.read_all().to_batches():
            for row in _table_rows(batch):
                number += 1
                place = f"{path} row {number}"
                yield BadRow(place, number, row) if isinstance(row, str) else table_record(place, number, row)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} is not an Arrow file: {' '.join(str(error).split())}") from error


def _table_rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch of a typed table; instead of a row that holds bytes that are no UTF-8, the reason."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for place in range(batch.num_rows):
        try:
            yield {name: batch.column(name)[place].as_py() for name in batch.schema.names}
        except UnicodeDecodeError as error:
            yield f"holds text that is not UTF-8 ({error.reason} at byte {error.start} of a field)"


def _read_excel(path: Path) -> Records:
    """A workbook; a program that exports text under its name writes a table."""
    return read_workbook(path) if holds_workbook(path) else read_csv(path)


FORMATS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".xlsx": _read_excel,
    ".xlsm": _read_excel,
}
"""Readers of files of rows, by suffix."""
_NO_ROWS = {".yaml": "a YAML", ".yml": "a YAML", ".toml": "a TOML", ".xml": "an XML"}
