"""Atomic writes: a file or folder is written under a temporary name and renamed, so it is complete or absent."""

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

__all__ = [
    "DISK_IS_FULL",
    "make_folder",
    "read_json",
    "read_json_lines",
    "staged_file",
    "staged_folder",
    "write_json",
    "write_json_lines",
    "write_text",
]


DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The error numbers of a write that does not fit on the disk."""


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically; parent folders are created."""
    with staged_file(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def staged_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that becomes ``path`` when the block succeeds, and is removed when it raises.

    Parent folders are created.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
            raise OSError(error.errno, error.strerror, str(path)) from error  # a write does not name its file
        raise


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in ``path``."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object per line, atomically."""
    with staged_file(path) as file:
        file.writelines((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8") for row in rows)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file that this program wrote line by line; a truncated last line is ignored.

    It is dropped before the text is decoded: it may end within a character.
    """
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """A new folder that becomes ``target`` when the block succeeds, and is removed when it raises.

    An existing ``target`` is replaced only then.
    """
    make_folder(target.parent)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def make_folder(folder: Path) -> None:
    """Create ``folder`` and its parents, where they do not exist.

    Raises:
        NotADirectoryError: one of them is a file.
        OSError: the system forbids it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
