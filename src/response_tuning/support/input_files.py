"""Files that users bring, gzipped or not, and the strict JSONL reader, which gives the place of every bad row."""

import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record, decode_json

__all__ = ["BYTE_ORDER_MARK", "Records", "open_bytes", "read_bytes", "read_json_lines_file", "suffix_of"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Records = Iterator[Record | BadRow]
"""The rows of a file, in order."""


def suffix_of(path: Path) -> str:
    """The suffix that names the format: ``.csv`` for both ``a.csv`` and ``a.csv.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_bytes(path: Path) -> "gzip.GzipFile | io.BufferedReader":
    """Open a file for reading; one whose name ends in .gz is decompressed.

    Raises:
        UserError: it is missing, or a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a JSONL file with one example per line.")
    try:
        return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed, without a byte order mark.

    Raises:
        UserError: it is missing, a folder, or a corrupt gzip file.
    """
    with open_bytes(path) as file:
        return b"".join(_lines(path, file)).removeprefix(BYTE_ORDER_MARK)


def read_json_lines_file(path: Path) -> Records:
    """One JSON value per line. A byte order mark, Windows line endings and blank lines are accepted.

    Raises:
        UserError: the file is missing, a folder, or a corrupt gzip file.
    """
    with open_bytes(path) as file:
        # Only a newline ends a row: str.splitlines would also split at U+2028, which JSON allows inside a string.
        for number, line in enumerate(_lines(path, file), start=1):
            text = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip(b" \t\r\n")
            if not text:
                continue
            place = f"{path}:{number}"
            try:
                yield Record(place, number, decode_json(text))
            except ValueError as error:
                yield BadRow(place, number, str(error))


def _lines(path: Path, file: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of an open file, with one clear error where its compression is broken."""
    try:
        yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a complete gzip file ({error}).") from error
