"""A ledger of questions and their outcomes, written as they arrive: nothing is asked or paid for twice.

A line is one outcome. A ledger is readable after any cut, of a kill or a full disk: lines are read as bytes, and only
whole ones are decoded.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from response_tuning.support.errors import UserError
from response_tuning.support.files import DISK_IS_FULL, make_folder
from response_tuning.support.progress import warn

__all__ = ["Ledger", "Record", "Row", "open_ledger", "read_ledger"]

Row = dict[str, Any]
"""An outcome, at least with a ``key``."""

_BEGINNING = b'{"identity": '


@dataclass(frozen=True)
class Record:
    """What a ledger holds."""

    identity: dict[str, Any]
    """What it was started with."""
    rows: list[Row]
    """Every row, in the order in which they were written."""

    @property
    def latest(self) -> dict[str, Row]:
        """The last row of each key."""
        return {row["key"]: row for row in self.rows}


class Ledger:
    """An open ledger. A row is on disk when ``add`` returns."""

    def __init__(self, file: FileIO, path: Path, record: Record) -> None:
        self._file = file
        self._path = path
        self.record = record
        self.rows = record.latest
        """The last row of each key."""

    def add(self, row: Row) -> None:
        """Append a row. It is written whole or not at all.

        Raises:
            OSError: the disk is full.
        """
        line = json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
        end = os.fstat(self._file.fileno()).st_size
        try:
            _write(self._file, line)
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            if error.errno in DISK_IS_FULL:
                raise OSError(error.errno, error.strerror, str(self._path)) from error
            raise
        self.record.rows.append(row)
        self.rows[row["key"]] = row


@contextmanager
def open_ledger(path: Path, identity: dict[str, Any]) -> Iterator[Ledger]:
    """Open the ledger at ``path``, or start one; its first line is the ``identity`` that its rows depend on.

    Raises:
        UserError: it was started with another ``identity``, is not a ledger, or is locked by another process.
        OSError: the disk is full.
    """
    from filelock import FileLock, Timeout  # here, since every `rt --help` loads this module

    make_folder(path.parent)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"Another process is writing {path}. Wait for it, or choose another --output.") from None
    try:
        record = read_ledger(path, identity)
        with FileIO(path, "ab") as file:
            file.truncate(_whole_lines(path))
            if record is None:
                _write(file, json.dumps({"identity": identity}, ensure_ascii=False).encode("utf-8") + b"\n")
            yield Ledger(file, path, record or Record(identity, []))
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def read_ledger(path: Path, identity: dict[str, Any]) -> Record | None:
    """What the ledger holds, or None if there is no ledger yet. Writes nothing.

    An incomplete last line is dropped. Other lines that cannot be read, as a failing disk leaves them, are counted in a
    warning; what they held is asked again. What the recorded identity does not name, or names besides, is no
    difference: earlier versions recorded limits and addresses as well.

    Raises:
        UserError: as ``open_ledger``.
    """
    if not path.exists():
        return None
    first, *lines = path.read_bytes().split(b"\n")
    if not lines and _BEGINNING.startswith(first[: len(_BEGINNING)]):
        return None  # nothing, or a first line that was cut
    recorded = _decoded(first)
    recorded = recorded.get("identity") if recorded and lines else None
    if not isinstance(recorded, dict):
        raise UserError(f"{path} exists and is not a ledger of this command. Choose another --output.")
    _require_same(path, recorded, identity)
    rows = [_decoded(line) for line in lines[:-1]]
    whole = [row for row in rows if row is not None and isinstance(row.get("key"), str)]
    if len(whole) < len(rows):
        warn(f"{path}: {len(rows) - len(whole)} lines cannot be read and are ignored; what they held is asked again.")
    return Record(recorded, whole)


def _require_same(path: Path, recorded: dict[str, Any], identity: dict[str, Any]) -> None:
    changed = [
        f"{name}: {recorded[name]!r} before, {value!r} now"
        for name, value in identity.items()
        if recorded.get(name, value) != value
    ]
    if changed:
        raise UserError(
            f"{path} was started with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Choose another --output, or delete the file."
        )


def _decoded(line: bytes) -> Row | None:
    """The object in a line; None where there is none."""
    try:
        value = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        return None
    return value if isinstance(value, dict) else None


def _write(file: FileIO, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _whole_lines(path: Path) -> int:
    """The number of bytes up to the end of the last complete line; an interrupted write may follow it."""
    return path.read_bytes().rfind(b"\n") + 1
