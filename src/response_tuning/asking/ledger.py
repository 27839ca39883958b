"""A ledger of questions and their outcomes, written as they arrive: nothing is asked or paid for twice."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from response_tuning.support.errors import UserError
from response_tuning.support.files import make_folder, read_json_lines

__all__ = ["Ledger", "open_ledger", "read_ledger"]


class Ledger:
    """Rows by their ``key``. A row is on disk when ``add`` returns."""

    def __init__(self, file: IO[bytes], rows: dict[str, dict[str, Any]]) -> None:
        self._file = file
        self.rows = rows

    def add(self, row: dict[str, Any]) -> None:
        """Append a row. It replaces an earlier row with the same key."""
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[row["key"]] = row


@contextmanager
def open_ledger(path: Path, identity: dict[str, Any]) -> Iterator[Ledger]:
    """Open the ledger at ``path``, or start one; its first line is the ``identity`` that its rows depend on.

    Raises:
        UserError: it was started with another ``identity``, is not a ledger, or is locked by another process.
    """
    from filelock import FileLock, Timeout  # here, since every `rt --help` loads this module

    make_folder(path.parent)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"Another process is writing {path}. Wait for it, or choose another --output.") from None
    try:
        rows = read_ledger(path, identity)
        with path.open("ab") as file:
            file.truncate(_whole_lines(path))
            if rows is None:
                file.write(json.dumps({"identity": identity}, ensure_ascii=False).encode("utf-8") + b"\n")
            yield Ledger(file, rows or {})
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def read_ledger(path: Path, identity: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """The rows by key, or None if there is no ledger yet. Writes nothing.

    Raises:
        UserError: as ``open_ledger``.
    """
    if not path.exists():
        return None
    try:
        lines = read_json_lines(path)
    except ValueError:
        lines = [{}]
    if not lines:
        return None
    recorded = lines[0].get("identity") if isinstance(lines[0], dict) else None
    if not isinstance(recorded, dict):
        raise UserError(f"{path} exists and is not a ledger of this command. Choose another --output.")
    if recorded != identity:
        changed = [
            f"{name}: {recorded.get(name)!r} before, {identity.get(name)!r} now"
            for name in {**recorded, **identity}
            if recorded.get(name) != identity.get(name)
        ]
        raise UserError(
            f"{path} was started with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Choose another --output, or delete the file."
        )
    return {row["key"]: row for row in lines[1:]}


def _whole_lines(path: Path) -> int:
    """The number of bytes up to the end of the last complete line; an interrupted write may follow it."""
    return path.read_bytes().rfind(b"\n") + 1
