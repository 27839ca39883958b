"""Which model a spec names just now: a folder that is trained anew, or replaced, keeps its name and no more.

A fingerprint is made of files alone, in a fraction of a second, so that what was answered before can be told from what
another model would answer without loading either.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from response_tuning.support.options import EMBEDDED, EMBEDDED_INSTRUCT

__all__ = ["is_of_same_model", "model_fingerprint"]

_MEBIBYTE = 1 << 20
_PIECES = 64
"""Of a mebibyte: smaller files are read whole, larger ones in pieces at even distances. Training changes them all."""
_WEIGHTS = ("*.safetensors", "*.gguf")
_BESIDE_THEM = ("*.json", "*.jinja", "tokenizer.model")
_BASE = "base_model_name_or_path"


def model_fingerprint(spec: str) -> str | None:
    """Sixteen hexadecimal digits of the weights, the tokenizer and the configuration that a spec names.

    They stay the same where a run or a folder is moved or copied. Of a hub id it is the commit in the hub's cache.

    Args:
        spec: a model spec, of a model in this process.

    Returns:
        None where the name says all that is known: of the embedded models, and of a hub id that is not cached.
    """
    path = Path(spec)
    if spec in (EMBEDDED, EMBEDDED_INSTRUCT):
        return None
    if not path.exists():
        return _cached_commit(spec)
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.name}\0".encode())
        digest.update(_adapter_config(file) if file.name == "adapter_config.json" else _sample(file))
    return digest.hexdigest()[:16]


def is_of_same_model(fingerprint: str | None, spec: str) -> bool:
    """Whether what was kept with ``fingerprint`` is of the model that ``spec`` names now; None is believed."""
    return fingerprint in (None, model_fingerprint(spec))


def _files(path: Path) -> list[Path]:
    """What a model is loaded from: of a run, its adapter or its whole model; of another folder, the folder itself."""
    if path.is_file():
        return [path]
    folder = next((path / name for name in ("adapter", "model") if (path / name).is_dir()), path)
    return sorted(file for pattern in (*_WEIGHTS, *_BESIDE_THEM) for file in folder.glob(pattern))


def _adapter_config(file: Path) -> bytes:
    """Its settings, with the base model's own fingerprint in the place of the folder where it happens to lie."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    base = str(settings.get(_BASE))
    settings[_BASE] = model_fingerprint(base) or base
    return json.dumps(settings, sort_keys=True).encode()


def _sample(file: Path) -> bytes:
    status = file.stat()
    return _read_sample(file, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _read_sample(file: Path, _inode: int, _modified: int, size_bytes: int) -> bytes:
    """An evaluation asks several times: a file that is what it was is read once."""
    digest = hashlib.sha256(str(size_bytes).encode())
    with file.open("rb") as opened:
        for start in _starts(size_bytes):
            opened.seek(start)
            digest.update(opened.read(_MEBIBYTE))
    return digest.digest()


def _starts(size: int) -> Iterator[int]:
    if size <= _PIECES * _MEBIBYTE:
        return iter(range(0, size, _MEBIBYTE))
    return (piece * (size - _MEBIBYTE) // (_PIECES - 1) for piece in range(_PIECES))


def _cached_commit(spec: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(spec, "config.json")
    except HFValidationError:  # no name that the hub could have; loading it says so
        return None
    return Path(cached).parent.name[:16] if isinstance(cached, str) else None
