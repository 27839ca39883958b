"""Local files of any usual format into records: JSONL, JSON, CSV, Parquet, text; gzipped or not.

A reader yields a record, or a bad row, for each row of the file, in order. ``fields.py`` decides later what a record
means.
"""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

from response_tuning.data.sources.source import SplitAt
from response_tuning.data.sources.text_folder import TEXT_SUFFIXES, read_text, read_text_folder
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.input_files import Records, read_bytes, read_json_lines_file, suffix_of
from response_tuning.support.records import BadRow, Record, decode_json, json_type, table_record

__all__ = ["FORMATS", "read_file"]


def read_file(path: Path, *, split_at: SplitAt = "files") -> Records:
    """Read a file by its suffix, or a folder of text files.

    Args:
        path: a file in one of ``FORMATS`` or a text file (gzipped as ``.gz`` or not), or a folder of text files.
        split_at: "headings" splits text at Markdown headings; "files" makes one record of each file.

    Raises:
        UserError: there is no such file, or it is not in the format that its suffix names.
    """
    if path.is_dir():
        return read_text_folder(path, split_at)
    suffix = suffix_of(path)
    if suffix in TEXT_SUFFIXES:
        return read_text(path, path.name, split_at)
    # A file with any other suffix is read as JSONL.
    return FORMATS.get(suffix, read_json_lines_file)(path)


def _read_json(path: Path) -> Records:
    """A JSON array of rows."""
    try:
        rows = decode_json(read_bytes(path).strip())
    except ValueError as error:
        raise UserError(f"{path} {error}") from None
    if not isinstance(rows, list):
        raise UserError(
            f"{path} holds {json_type(rows)}; it should be a list of rows. If it is JSONL, rename it to end in .jsonl."
        )
    for number, row in enumerate(rows, start=1):
        yield Record(f"{path} row {number}", number, row)


def _read_csv(path: Path) -> Records:
    """A table with a header. An empty cell is a missing field."""
    csv.field_size_limit(sys.maxsize)
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter="\t" if suffix_of(path) == ".tsv" else ",", strict=True
    )
    header = next(reader, None)
    if header is None:
        return
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise UserError(f"{path} names the column {twice!r} twice.")
    while True:
        number = reader.line_num + 1
        place = f"{path}:{number}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield BadRow(place, number, f"is not valid CSV ({error}); the rest of the file was not read")
            return
        if cells is None:
            return
        if cells and len(cells) != len(header):
            yield BadRow(place, number, f"has {len(cells)} cells where the header has {len(header)}")
        elif cells:
            yield Record(place, number, {name: cell for name, cell in zip(header, cells, strict=True) if cell})


def _read_parquet(path: Path) -> Records:
    require_extra("pyarrow", "hub", purpose=f"Reading {path}")
    from pyarrow import ArrowException, parquet

    content = read_bytes(path)
    try:
        number = 0
        for batch in parquet.ParquetFile(io.BytesIO(content)).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield table_record(f"{path} row {number}", number, row)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from error


FORMATS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": read_json_lines_file,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
"""Readers of files of rows, by suffix."""
