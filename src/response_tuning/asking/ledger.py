"""What has been asked and what came of it, on disk as it happens: nothing is asked or paid for twice."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from response_tuning.support.errors import UserError
from response_tuning.support.files import make_folder, read_json_lines

__all__ = ["Ledger", "open_ledger", "read_ledger"]


class Ledger:
    """Rows by their ``key``; every row is on the disk when ``add`` returns."""

    def __init__(self, file: IO[bytes], rows: dict[str, dict[str, Any]]) -> None:
        self._file = file
        self.rows = rows

    def add(self, row: dict[str, Any]) -> None:
        """Append a row. A later row of the same key replaces an earlier one."""
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows[row["key"]] = row


@contextmanager
def open_ledger(path: Path, identity: dict[str, Any]) -> Iterator[Ledger]:
    """Open the ledger at ``path``, or begin one; its first line says what its rows depend on.

    Raises:
        UserError: it was begun with another ``identity``, is no ledger, or another process writes into it.
    """
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
    """The rows by their key, without touching the file; None where nothing was begun.

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
    begun = lines[0].get("identity") if isinstance(lines[0], dict) else None
    if not isinstance(begun, dict):
        raise UserError(f"{path} exists and is no record of this command. Choose another --output.")
    if begun != identity:
        changed = [
            f"{name}: {begun.get(name)!r} before, {identity.get(name)!r} now"
            for name in {**begun, **identity}
            if begun.get(name) != identity.get(name)
        ]
        raise UserError(
            f"{path} was begun with other settings:\n  " + "\n  ".join(changed) + "\n"
            "Choose another --output, or delete the file."
        )
    return {row["key"]: row for row in lines[1:]}


def _whole_lines(path: Path) -> int:
    """The number of bytes up to the end of the last whole line; what a kill cut off stands behind it."""
    return path.read_bytes().rfind(b"\n") + 1
