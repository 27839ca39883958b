"""What a stage is keyed by: the content of what it reads, and the options that change its result."""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.spec import parse_spec

__all__ = ["data_identity", "files_in", "key_of", "model_identity"]

_DIGITS = 16
_MEBIBYTE = 1 << 20


def key_of(content: Any) -> str:
    """Sixteen hexadecimal digits of a hash of JSON values."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


@lru_cache(maxsize=1024)
def model_identity(spec: str) -> str:
    """A model by its content: the fingerprint of a folder or a file; the spec of anything else.

    A hub id stays its spec, which a download does not change; ``@REVISION`` pins its content.
    """
    return (model_fingerprint(spec) or spec) if parse_spec(spec).path is not None else spec


def data_identity(spec: str) -> str:
    """Data by their content, where they are files here; by their name otherwise."""
    path = Path(spec)
    try:
        exists = path.exists()
    except OSError:  # too long to be a path
        exists = False
    return _hash_of(path) if exists else spec


def files_in(options: Any) -> Iterator[tuple[str, str]]:
    """The values among options that are existing files or folders, each with its content."""
    if isinstance(options, dict):
        options = [*options.values()]
    if isinstance(options, list | tuple):
        for value in options:
            yield from files_in(value)
    elif isinstance(options, str | Path) and 0 < len(str(options)) < 4096 and "\n" not in str(options):
        identity = data_identity(str(options))
        if identity != str(options):
            yield str(options), identity


def _hash_of(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        name = "" if path.is_file() else str(file.relative_to(path))
        digest.update(f"{name}\0".encode())
        digest.update(_hash_of_file(file, status.st_ino, status.st_mtime_ns, status.st_size))
    return digest.hexdigest()[:_DIGITS]


@lru_cache(maxsize=4096)
def _hash_of_file(file: Path, _inode: int, _modified: int, _size_bytes: int) -> bytes:
    """Cached: the cells of a study read the same files."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(_MEBIBYTE):
            digest.update(part)
    return digest.digest()
