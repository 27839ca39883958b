"""Tables as text: CSV with whatever separates its cells."""

import csv
import io
import sys
from pathlib import Path

from response_tuning.support.errors import UserError
from response_tuning.support.input_files import Records, read_bytes, suffix_of
from response_tuning.support.progress import say
from response_tuning.support.records import BadRow, Record

__all__ = ["read_csv"]

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_ROWS_TRIED = 100
_CHARACTERS_SHOWN = 20


def read_csv(path: Path) -> Records:
    """A table with a header. An empty cell is a missing field.

    Cells are separated by what gives most rows as many cells as the header; Excel's line ``sep=;`` decides where there
    is one.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or UTF-16, or names a column twice.
    """
    csv.field_size_limit(sys.maxsize)
    content = read_bytes(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_not_utf_8(path, content, error.start)) from None
    lines_before = 0
    if text[:4].lower() == "sep=" and len(text) > 4 and text[5:7].strip() == "":
        first, _, text = text.partition("\n")
        lines_before, delimiter = 1, first[4]
    else:
        delimiter = _delimiter(text, "\t" if suffix_of(path) == ".tsv" else ",")
    if delimiter != ("\t" if suffix_of(path) == ".tsv" else ","):
        say(f"{path}: cells are separated by {_DELIMITERS.get(delimiter, repr(delimiter))}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num + lines_before} is not valid CSV ({error}).") from None
    if header is None:
        return
    header = [name.strip() for name in header]
    twice = next((name for name in set(header) if name and header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} names the column {twice!r} twice.")
    if "" in header:
        say(f"{path}: not used: {header.count('')} columns without a name")
    while True:
        number = reader.line_num + lines_before + 1
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
            yield Record(place, number, {name: cell for name, cell in zip(header, cells, strict=True) if cell and name})


def _delimiter(text: str, usual: str) -> str:
    """The character that separates cells: the one with which most rows have as many cells as the header."""
    best, best_score = usual, (0.0, 0)
    for delimiter in dict.fromkeys((usual, *_DELIMITERS)):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            rows = [row for row, _ in zip(reader, range(_ROWS_TRIED), strict=False) if row]
        except csv.Error:
            continue
        if not rows or len(rows[0]) < 2 or "" in rows[0][1:-1]:
            continue
        fitting = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        if (fitting, len(rows[0])) > best_score:
            best, best_score = delimiter, (fitting, len(rows[0]))
    return best


def _not_utf_8(path: Path, content: bytes, start: int) -> str:
    """The error for a table in another encoding, with what the place reads as in Windows' usual one."""
    around = content[max(0, start - _CHARACTERS_SHOWN) : start + _CHARACTERS_SHOWN].decode("cp1252", "replace")
    shown = " ".join(around.split())
    return (
        f"{path} is not UTF-8 at byte {start}. In Windows' encoding (cp1252) the place reads {shown!r}; if that is "
        f"right, convert the file: iconv -f CP1252 -t UTF-8 {path} > {path.stem}-utf8{path.suffix}"
    )
