"""Files that users bring, compressed or not, and the strict JSONL reader, which gives the place of every bad row."""

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.records import BadRow, Record, decode_json

__all__ = [
    "BYTE_ORDER_MARK",
    "COMPRESSED",
    "DAMAGED",
    "Records",
    "open_bytes",
    "read_bytes",
    "read_json_lines_file",
    "suffix_of",
]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Suffixes of compressed files. The content decides, not the name."""

Records = Iterator[Record | BadRow]
"""The rows of a file, in order."""

_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_TABLES = (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")
"""Parquet, Arrow files and Arrow streams, which are read."""
DAMAGED = (EOFError, zlib.error, lzma.LZMAError, OSError)
"""What reading a damaged compressed file raises."""
_START_BYTES = 512
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
"""Bytes that text does not have; in an encoding of text, none of them is a letter."""
_UNPACK = "Unpack it and name a file or the folder"
_OTHER_FORMATS = (
    (
        b"\xd0\xcf\x11\xe0",
        "an Excel or Word file of an old version, or with a password. Save it as CSV UTF-8 or plain text",
    ),
    (b"{\\rtf", "a document in Rich Text Format. Save it as plain text (.txt) and name that file"),
    (b"<?xml", "an XML file. Write its rows as JSONL or CSV"),
    (b"\x04\x22\x4d\x18", "compressed with lz4. Unpack it (lz4 -d) and name that file"),
    (b"\x1f\x9d", "compressed with compress. Unpack it (gzip -d) and name that file"),
    (b"LZIP", "compressed with lzip. Unpack it (lzip -d) and name that file"),
    (b"\x93NUMPY", "a NumPy array. Save the data as JSONL"),
    (b"\x89HDF", "an HDF5 file. Save the data as JSONL"),
    (b"FEA1", "a Feather file of version 1. Save it as Parquet or Feather of version 2"),
    (b"Obj\x01", "an Avro file. Save the data as JSONL or Parquet"),
    (b"ORC", "an ORC file. Save the data as Parquet"),
    (b"%PDF", "a PDF. Save its text as .txt or .md"),
    (b"SQLite format 3", "an SQLite database. Export its table as CSV"),
    (b"7z\xbc\xaf", f"a 7z archive. {_UNPACK}"),
    (b"Rar!", f"a RAR archive. {_UNPACK}"),
    (b"\x80\x04\x95", "a Python pickle, which can run code when it is read. Save the data as JSONL"),
    (_LFS_POINTER, "a Git LFS pointer, not the file itself. Fetch it: git lfs pull"),
    (b"<!doctype html", "a web page, not data. Download the file itself"),
    (b"<html", "a web page, not data. Download the file itself"),
)


def suffix_of(path: Path) -> str:
    """The suffix that names the format: ``.csv`` for both ``a.csv`` and ``a.csv.gz``."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in COMPRESSED else path.suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading; a compressed one (gzip, bzip2, xz, zstd) is decompressed, whatever its name is.

    Raises:
        UserError: it is missing, a folder, or in a format that holds no rows of text, such as a workbook.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a JSONL file with one example per line.")
    try:
        with path.open("rb") as file:
            start = file.read(_START_BYTES)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    opened = _decompressed(path, start)
    if opened is None:
        _refuse_other_formats(path, start)
        return path.open("rb")
    try:
        inner = opened.read(_START_BYTES)
        opened.seek(0)
    except DAMAGED:
        return cast(IO[bytes], _decompressed(path, start))  # its reader names what is wrong
    if inner.startswith((_GZIP, _BZIP2, _XZ, _ZSTD)):
        raise UserError(f"{path} is compressed twice. Unpack it once and name the file.")
    _refuse_other_formats(path, inner)
    return opened


def _decompressed(path: Path, start: bytes) -> IO[bytes] | None:
    """The file behind its compression, by its first bytes; None for a file that is not compressed."""
    if start.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(_BZIP2):
        return cast(IO[bytes], bz2.open(path))
    if start.startswith(_XZ):
        return cast(IO[bytes], lzma.open(path))
    return _open_zstd(path) if start.startswith(_ZSTD) else None


def _open_zstd(path: Path) -> IO[bytes]:
    require_extra("pyarrow", "hub", purpose=f"Reading {path}")
    import pyarrow

    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        try:
            return io.BytesIO(stream.read())
        except OSError as error:
            raise UserError(f"{path} is not a complete zstd file ({error}).") from error


def _refuse_other_formats(path: Path, start: bytes) -> None:
    """Name the true cause where a file is of another format than rows of text."""
    if start[257:262] == b"ustar":
        raise UserError(f"{path} is a tar archive. Unpack it (tar xf {path}) and name a file or the folder.")
    if start.startswith(b"PK\x03\x04"):
        raise UserError(f"{path} is {_zipped(path)}.")
    for magic, what in _OTHER_FORMATS:
        if start.lstrip()[: len(magic)].lower() == magic.lower():
            raise UserError(f"{path} is {what}.")
    _refuse_wide_characters(path, start)


def _refuse_wide_characters(path: Path, start: bytes) -> None:
    """Name the encoding of text with zero bytes; UTF-16 with its mark, and typed tables, are read."""
    zeros = start.count(b"\0")
    has_mark = start.startswith((b"\xff\xfe", b"\xfe\xff")) and not start.startswith(b"\xff\xfe\0\0")
    if has_mark or start.startswith(_TABLES):
        return
    if zeros <= len(start) / 4:
        if _CONTROL.search(start) and "\ufffd" in start[:-3].decode("utf-8", "replace"):
            raise UserError(f"{path} is a binary file of an unknown format. Export its rows as JSONL or CSV.")
        return
    # Of ASCII text, UTF-32 has three zero bytes a character, UTF-16 one.
    narrow = "UTF-16LE" if start[1:2] == b"\0" else "UTF-16BE"
    encoding = "UTF-32" if zeros > len(start) * 0.6 else narrow
    target = f"{path.stem}-utf8{path.suffix}"
    raise UserError(f"{path} is {encoding}, not UTF-8. Convert it: iconv -f {encoding} -t UTF-8 {path} > {target}")


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive"
    if any(name.startswith("xl/") for name in names):
        sheets = sum(name.startswith("xl/worksheets/") and name.endswith(".xml") for name in names)
        each = f"; it has {sheets} sheets, so save each" if sheets > 1 else ""
        return f"an Excel workbook. Save its sheet as CSV UTF-8 and name that file{each}"
    if "word/document.xml" in names:
        return "a Word document. Save it as plain text (.txt) and name that file"
    if "content.xml" in names and "mimetype" in names:
        return "an OpenDocument file. Save its sheet as CSV, or its text as plain text (.txt)"
    listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"a zip archive of {listed}. Unpack it (unzip {path}) and name a file or the folder"


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed, without a byte order mark. UTF-16 with its mark becomes UTF-8.

    Raises:
        UserError: it is missing, a folder, corrupt, or in another format.
    """
    with open_bytes(path) as file:
        content = b"".join(_lines(path, file))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return content.decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise UserError(f"{path} starts as UTF-16 and is not ({error}). Save the file as UTF-8.") from None
    return content.removeprefix(BYTE_ORDER_MARK)


def read_json_lines_file(path: Path) -> Records:
    """One JSON value per line. A byte order mark, Windows line endings and blank lines are accepted.

    Raises:
        UserError: the file is missing, a folder, corrupt, or in another format.
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
    except DAMAGED as error:
        kinds = {gzip.GzipFile: "gzip", bz2.BZ2File: "bzip2", lzma.LZMAFile: "xz"}
        kind = next((name for opened, name in kinds.items() if isinstance(file, opened)), None)
        if kind is None:
            raise
        raise UserError(f"{path} is not a complete {kind} file ({error}).") from error
