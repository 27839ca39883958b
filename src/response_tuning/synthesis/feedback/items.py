"""The items by which users' messages are labelled: a YAML file that a user may change."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from response_tuning.support.configuration import parse_yaml
from response_tuning.support.errors import UserError

__all__ = ["Items", "read_items"]

_LISTS = ("satisfaction", "dissatisfaction")


@dataclass(frozen=True)
class Items:
    """Items by name, such as ``S1``."""

    satisfaction: dict[str, str]
    dissatisfaction: dict[str, str]

    @property
    def all(self) -> dict[str, str]:
        """Those of both lists."""
        return {**self.satisfaction, **self.dissatisfaction}

    def parse(self, verdict: str) -> list[str] | None:
        """The names in a verdict, in the order of the file; empty for NONE, None for anything else."""
        by_name = {name.upper(): name for name in self.all}
        names = verdict.upper().replace(",", " ").replace(";", " ").replace("AND", " ").split()
        if names == ["NONE"]:
            return []
        if not names or any(name not in by_name for name in names):
            return None
        return [name for name in self.all if name.upper() in names]

    def any_of(self, names: Iterable[str], kind: str) -> bool:
        """Whether one of ``names`` is an item of the list ``kind``."""
        return any(name in getattr(self, kind) for name in names)


def read_items(path: Path | None) -> Items:
    """The items of a file; None is the file of this package.

    Raises:
        UserError: the file is missing, or is not two lists of named items.
    """
    if path is not None and not path.is_file():
        raise UserError(f"There is no file {path} of items.")
    text = (path or files("response_tuning.synthesis.feedback") / "items.yaml").read_text(encoding="utf-8")
    value = parse_yaml(path or Path("items.yaml"), text)
    satisfaction, dissatisfaction = (_named(value.get(name), name, path) for name in _LISTS)
    both = {name.upper() for name in satisfaction} & {name.upper() for name in dissatisfaction}
    if both:
        raise UserError(f"{path}: the item {min(both)} is in both lists.")
    return Items(satisfaction, dissatisfaction)


def _named(value: Any, name: str, path: Path | None) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: needs a list {name!r} of items, each as NAME: text.")
    items = {str(key).strip(): str(text).strip() for key, text in value.items()}
    unusable = [key for key, text in items.items() if not text or not key.isalnum() or key.upper() in ("NONE", "AND")]
    if unusable:
        raise UserError(f"{path}: the item {unusable[0]!r} of {name!r} needs a text, and a name of letters and digits.")
    return items
