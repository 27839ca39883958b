"""What became of each stage, beside its log: ``stages/KEY.json`` in the study's folder."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from response_tuning.support.files import make_folder, write_text
from response_tuning.support.platforms import lock

__all__ = ["Record", "StageState", "exists_one", "held", "log_path", "read_record", "write_record"]

StageState = Literal["running", "done", "failed", "interrupted"]

_FOLDER = "stages"


class Record(BaseModel):
    """One stage's latest attempt."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    name: str
    state: StageState
    exit_code: int | None = None
    reason: str = ""
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    host: str = ""
    attempts: int = 1


def record_path(folder: Path, key: str) -> Path:
    """Where the record of a stage is."""
    return folder / _FOLDER / f"{key}.json"


def log_path(folder: Path, name: str) -> Path:
    """Where the output of a stage's command is appended."""
    return folder / "logs" / f"{name}.log"


def read_record(folder: Path, key: str) -> Record | None:
    """The record of a stage; None where it was never started."""
    try:
        return Record.model_validate_json(record_path(folder, key).read_bytes())
    except FileNotFoundError:
        return None


def write_record(folder: Path, record: Record) -> None:
    """Replace the record of a stage."""
    write_text(record_path(folder, record.key), record.model_dump_json(indent=1) + "\n")


def exists_one(folder: Path, proofs: Sequence[str]) -> bool:
    """Whether one of the paths exists."""
    return any((folder / proof).exists() for proof in proofs)


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Wait for a lock on a file and hold it: no stage runs twice at once, whoever starts it.

    Yields its descriptor. A process that inherits it holds the lock too, until it ends: a command whose starter was
    killed keeps another one of the same stage waiting.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def lock_path(folder: Path, key: str) -> Path:
    """The lock of a stage."""
    return folder / _FOLDER / f".{key}.lock"
