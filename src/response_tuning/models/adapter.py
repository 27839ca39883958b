"""Where a run or a kept checkpoint has its adapter, and which model the adapter was trained on."""

from pathlib import Path

from response_tuning.models.spec import parse_spec
from response_tuning.support.files import read_json
from response_tuning.support.options import EMBEDDED

__all__ = ["EMBEDDED_NAME", "adapter_folder", "base_of_adapter"]

EMBEDDED_NAME = "gemma-3-270m"
"""What the names of the embedded model's folders in the cache begin with."""


def adapter_folder(spec: str) -> Path | None:
    """The adapter of a run, or the folder of a checkpoint, which is an adapter itself; None of other models."""
    path = parse_spec(spec).path
    folders = () if path is None else (path / "adapter", path)
    return next((folder for folder in folders if (folder / "adapter_config.json").exists()), None)


def base_of_adapter(adapter: Path) -> str:
    """The spec of the model that an adapter was trained on: PEFT keeps a folder, or a hub id and its revision."""
    settings = read_json(adapter / "adapter_config.json")
    name, revision = str(settings["base_model_name_or_path"]), settings.get("revision")
    if Path(name).exists():
        return name
    if Path(name).is_absolute() and Path(name).name.startswith(EMBEDDED_NAME):
        return EMBEDDED  # the cache was cleared since
    if parse_spec(name).kind == "folder":
        return name
    return f"hub:{name}@{revision}" if revision else f"hub:{name}"
