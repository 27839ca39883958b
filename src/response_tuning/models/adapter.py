"""Where a run or a kept checkpoint has its adapter, and which model the adapter was trained on.

PEFT keeps the name of that model and no more. A record beside the adapter also has how it was named, where it lies as
seen from the adapter, and a hash of its weights, so that a run which is moved or called from another folder finds the
same base, and another base under its name is noticed.
"""

import os
from pathlib import Path
from typing import Any

from response_tuning.models.spec import parse_spec
from response_tuning.support.files import read_json, write_json
from response_tuning.support.options import EMBEDDED

__all__ = [
    "EMBEDDED_NAME",
    "adapter_folder",
    "base_of_adapter",
    "base_record",
    "recorded_base",
    "write_base_record",
]

EMBEDDED_NAME = "gemma-3-270m"
"""What the names of the embedded model's folders in the cache begin with."""
_RECORD = "base_model.json"


def adapter_folder(spec: str) -> Path | None:
    """The adapter of a run, or the folder of a checkpoint, which is an adapter itself; None of other models."""
    path = parse_spec(spec).path
    folders = () if path is None else (path / "adapter", path)
    return next((folder for folder in folders if (folder / "adapter_config.json").exists()), None)


def base_record(adapter: Path) -> dict[str, Any]:
    """What ``write_base_record`` wrote; empty for the adapter of an earlier version or another program."""
    path = adapter / _RECORD
    record: dict[str, Any] = read_json(path) if path.is_file() else {}
    return record


def write_base_record(
    folder: Path, adapter: Path, *, spec: str, base: str, weights: str | None, four_bit: bool
) -> None:
    """Record the base of an adapter.

    Args:
        folder: where to write.
        adapter: where the folder will lie.
        spec: the base as it was named for training.
        base: the folder or hub id that it was loaded from.
        weights: a hash of its weights (``models.fingerprint``), if there is one.
        four_bit: whether the adapter was trained over 4-bit weights.
    """
    path = Path(base)
    parsed = parse_spec(spec).path
    record = {
        "spec": str(parsed.absolute()) if parsed is not None else spec,
        "folder": str(path.absolute()) if path.exists() else None,
        "from_here": os.path.relpath(path.absolute(), adapter.absolute()) if path.exists() else None,
        "weights": weights,
        "four_bit": four_bit,
    }
    write_json(folder / _RECORD, record)


def base_of_adapter(adapter: Path) -> str:
    """The spec of the model that an adapter was trained on, whether it still exists or not."""
    record = base_record(adapter)
    if record.get("spec") == EMBEDDED or record.get("folder"):
        return recorded_base(adapter)
    settings = read_json(adapter / "adapter_config.json")
    name, revision = str(settings["base_model_name_or_path"]), settings.get("revision")
    if not record and Path(name).exists():
        return name
    if Path(name).is_absolute() and Path(name).name.startswith(EMBEDDED_NAME):
        return EMBEDDED  # the cache was cleared since
    if parse_spec(name).kind == "folder":
        return name
    return f"hub:{name}@{revision}" if revision else f"hub:{name}"


def recorded_base(folder: Path) -> str:
    """The spec of the base that ``write_base_record`` recorded in ``folder``, whether it still exists or not.

    A base in a folder is looked for where it was, and where it lies as seen from here, in case both were moved.
    """
    record = base_record(folder)
    if record["spec"] == EMBEDDED or not record.get("folder"):
        return str(record["spec"])
    places = [Path(record["folder"]), (folder / record["from_here"]).resolve(), Path(record["spec"])]
    return str(next((place for place in places if place.is_absolute() and place.exists()), places[0]))
