"""Local files of any usual format into records: JSONL, JSON, CSV, Parquet, text; gzipped or not.

A reader yields a record, or a bad row, for each row of the file, in order. What a record means is decided later
(``fields.py``).
"""

import csv
import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from response_tuning.data.sources.records import BadRow, Record, decode_json, json_type, table_record
from response_tuning.support.errors import UserError

__all__ = ["BYTE_ORDER_MARK", "FORMATS", "open_bytes", "read_file", "read_json_lines_file", "suffix_of"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


Records = Iterator[Record | BadRow]


def read_file(path: Path, *, split_at: str = "files") -> Records:
    """Read a file, or a folder of text files, by its suffix.

    Args:
        path: a file of one of ``FORMATS`` (``.gz`` behind it or not), or a folder with .md and .txt files.
        split_at: "headings" cuts Markdown at its headings; "files" makes one record of each file.

    Raises:
        UserError: there is no such file, its format is not known, or it is no file of its format.
    """
    if path.is_dir():
        return _read_text_folder(path, split_at)
    suffix = suffix_of(path)
    if suffix in _TEXT_SUFFIXES:
        return _read_text(path, path.name, split_at)
    # Files without a known suffix are taken for JSONL, as they always were.
    return FORMATS.get(suffix, read_json_lines_file)(path)


def suffix_of(path: Path) -> str:
    """The suffix that says the format: ``.csv`` for ``a.csv`` and for ``a.csv.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_bytes(path: Path) -> "gzip.GzipFile | io.BufferedReader":
    """Open a file, gzipped or not, for reading.

    Raises:
        UserError: it is missing or a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a JSONL file with one example a line.")
    try:
        return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None


def read_json_lines_file(path: Path) -> Records:
    """One JSON value a line. A byte order mark, Windows line ends and blank lines are read over."""
    with open_bytes(path) as file:
        # Only a newline ends a row: str.splitlines would also cut at U+2028, which JSON allows inside a string.
        for number, line in enumerate(_whole(path, file), start=1):
            text = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip(b" \t\r\n")
            if not text:
                continue
            place = f"{path}:{number}"
            try:
                yield Record(place, number, decode_json(text))
            except ValueError as error:
                yield BadRow(place, number, str(error))


def _whole(path: Path, file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a file, with a clear word where its compression is broken."""
    try:
        yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}).") from None


def _read_bytes(path: Path) -> bytes:
    with open_bytes(path) as file:
        return b"".join(_whole(path, file)).removeprefix(BYTE_ORDER_MARK)


def _read_json(path: Path) -> Records:
    """A JSON array of rows."""
    try:
        rows = decode_json(_read_bytes(path).strip())
    except ValueError as error:
        raise UserError(f"{path} {error}") from None
    if not isinstance(rows, list):
        raise UserError(
            f"{path} holds {json_type(rows)}; it should be a list of rows. Is it JSONL? Call it .jsonl then."
        )
    for number, row in enumerate(rows, start=1):
        yield Record(f"{path} row {number}", number, row)


def _read_csv(path: Path) -> Records:
    """A table with a header. Empty cells are fields that are not there."""
    csv.field_size_limit(sys.maxsize)
    try:
        text = _read_bytes(path).decode("utf-8")
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
            yield BadRow(place, number, f"is not valid CSV ({error}); nothing after it could be read")
            return
        if cells is None:
            return
        if cells and len(cells) != len(header):
            yield BadRow(place, number, f"has {len(cells)} cells where the header has {len(header)}")
        elif cells:
            yield Record(place, number, {name: cell for name, cell in zip(header, cells, strict=True) if cell})


def _read_parquet(path: Path) -> Records:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"Reading {path} needs one more package: pip install 'response-tuning[hub]'.") from None
    with open_bytes(path) as file:
        try:
            number = 0
            for batch in parquet.ParquetFile(io.BytesIO(b"".join(_whole(path, file)))).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield table_record(f"{path} row {number}", number, row)
        except (ArrowException, OSError) as error:
            raise UserError(f"{path} is not a Parquet file: {' '.join(str(error).split())}") from None


def _read_text_folder(folder: Path, split_at: str) -> Records:
    """Every .md and .txt file of a folder and the folders in it, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*") if suffix_of(path) in _TEXT_SUFFIXES and path.is_file())
    if not paths:
        raise UserError(f"The folder {folder} holds no .md or .txt files.")
    for path in paths:
        yield from _read_text(path, path.relative_to(folder).as_posix(), split_at)


def _read_text(path: Path, name: str, split_at: str) -> Records:
    """A text as bare responses."""
    try:
        text = _read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        yield BadRow(str(path), 1, f"is not UTF-8 at byte {error.start}. Save the file as UTF-8.")
        return
    sections = _sections(text) if split_at == "headings" else [(1, text)]
    for number, section in sections:
        place = f"{path}:{number}"
        if section.strip():
            yield Record(place, number, {"completion": section.strip(), "source": name})
        else:
            yield BadRow(place, number, "holds no text")


def _sections(text: str) -> list[tuple[int, str]]:
    """Cut Markdown before its headings: (first line, text). A heading with nothing under it stays with the next."""
    lines = text.splitlines(keepends=True)
    sections: list[tuple[int, str]] = []
    start, has_body, in_code = 0, False, False
    for index, line in enumerate(lines):
        in_code ^= line.lstrip().startswith(("```", "~~~"))
        is_heading = not in_code and _HEADING.match(line) is not None
        if is_heading and has_body:
            sections.append((start + 1, "".join(lines[start:index])))
            start, has_body = index, False
        has_body |= not is_heading and bool(line.strip())
    return [*sections, (start + 1, "".join(lines[start:]))]


_HEADING = re.compile(r"#{1,6}\s")
_TEXT_SUFFIXES = {".md", ".txt"}

FORMATS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": read_json_lines_file,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
"""Readers of files of rows, by suffix."""
