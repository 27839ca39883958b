"""The content of the model that a spec names: a folder that is retrained or replaced keeps its name only.

A fingerprint is computed from files in a fraction of a second, so that kept responses are matched to the model that
gave them without loading it.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from response_tuning.models.adapter import base_of_adapter
from response_tuning.models.spec import ModelSpec, parse_spec

__all__ = ["is_of_same_model", "model_fingerprint", "weights_fingerprint"]

_MEBIBYTE = 1 << 20
_PIECES = 64
"""Of a mebibyte each: smaller files are read whole, larger ones in evenly spaced pieces. Training changes them all."""
_WEIGHTS = ("*.safetensors", "*.gguf")
_OTHER_FILES = ("*.json", "*.jinja", "tokenizer.model", "rules.yaml", "demonstrations.jsonl", "preamble.txt")
_BASE = "base_model_name_or_path"
_RECORD = "base_model.json"


def model_fingerprint(spec: str) -> str | None:
    """Sixteen hexadecimal digits of a hash of the weights, the tokenizer and the configuration that a spec names.

    A moved or copied run or folder keeps its fingerprint. That of a hub id, at its revision, is the commit in the hub's
    cache.

    Args:
        spec: a model spec.

    Returns:
        None where the spec is all that is known: for the embedded models, providers' models, and hub ids that are not
        cached.
    """
    parsed = parse_spec(spec)
    if parsed.kind == "hub":
        return _cached_commit(parsed)
    path = parsed.path
    if path is None or not path.exists():
        return None
    digest = hashlib.sha256()
    for file in _files(path):
        if file.name == _RECORD:  # where the base lies; what it is, an adapter's settings say
            if not (file.parent / "adapter_config.json").exists():
                digest.update(_recorded_base(file))
            continue
        digest.update(f"{file.name}\0".encode())
        digest.update(_adapter_config(file) if file.name == "adapter_config.json" else _sample(file))
    return digest.hexdigest()[:16]


def weights_fingerprint(path: str) -> str | None:
    """The same of the safetensors in a folder alone, whatever its other files say; None of anything but a folder."""
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else []
    digest = hashlib.sha256(b"".join(_sample(file) for file in files))
    return digest.hexdigest()[:16] if files else None


def is_of_same_model(fingerprint: str | None, spec: str) -> bool:
    """Whether ``fingerprint`` is that of the model that ``spec`` names now. None, of an older file, counts as equal."""
    return fingerprint in (None, model_fingerprint(spec))


def _files(path: Path) -> list[Path]:
    """The files that a model is loaded from: of a run, those of its adapter or model; else those of the folder."""
    if path.is_file():
        return [path]
    folder = next((path / name for name in ("adapter", "model") if (path / name).is_dir()), path)
    return sorted(file for pattern in (*_WEIGHTS, *_OTHER_FILES) for file in folder.glob(pattern))


def _adapter_config(file: Path) -> bytes:
    """Its settings, with the base model's fingerprint in place of its path."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings[_BASE] = model_fingerprint(base_of_adapter(file.parent)) or str(settings.get(_BASE))
    return json.dumps(settings, sort_keys=True).encode()


def _recorded_base(file: Path) -> bytes:
    """The base of a run that has no weights of its own: its fingerprint, or its spec where there is none."""
    record = json.loads(file.read_text(encoding="utf-8"))
    return str(record.get("weights") or record.get("spec")).encode()


def _sample(file: Path) -> bytes:
    status = file.stat()
    return _read_sample(file, status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _read_sample(file: Path, _inode: int, _modified: int, size_bytes: int) -> bytes:
    """Cached, since an evaluation asks several times: an unchanged file is read once."""
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


def _cached_commit(spec: ModelSpec) -> str | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(spec.name, "config.json", revision=spec.revision)
    except HFValidationError:  # no name that the hub could have; loading it raises
        return None
    return Path(cached).parent.name[:16] if isinstance(cached, str) else None
