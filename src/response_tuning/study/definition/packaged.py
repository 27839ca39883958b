"""The studies that come along, by name."""

from importlib.resources import as_file, files
from pathlib import Path

from response_tuning.study.definition.yaml_lines import YamlFile, read_yaml

__all__ = ["packaged_studies", "packaged_text", "read_named"]

_FOLDER = files("response_tuning.study.studies")


def packaged_studies() -> list[str]:
    """The names of the studies in this package."""
    return sorted(item.name.removesuffix(".yaml") for item in _FOLDER.iterdir() if item.name.endswith(".yaml"))


def packaged_text(name: str) -> str:
    """The file of a packaged study, to begin one's own with."""
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def read_named(study: str) -> YamlFile:
    """Read a study by its name in this package, or by the path of its file.

    Raises:
        UserError: there is no such study, or it is not YAML.
    """
    if study not in packaged_studies() or Path(study).exists():
        return read_yaml(Path(study))
    with as_file(_FOLDER / f"{study}.yaml") as path:
        return read_yaml(path, name=f"{study}.yaml")
