"""Where in a YAML file a value is, so that an error names its line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.support.configuration import parse_yaml
from response_tuning.support.errors import UserError

__all__ = ["Fault", "YamlFile", "read_yaml"]

Place = Sequence[str | int]
"""The names and positions that lead to a value."""


@dataclass(frozen=True)
class Fault:
    """Something wrong in a file: where, and a sentence."""

    place: Place
    reason: str


@dataclass(frozen=True)
class YamlFile:
    """The content of a YAML file, and the line of everything in it."""

    name: str
    values: dict[str, Any]
    root: yaml.Node

    def line(self, place: Place) -> int:
        """The line, from 1, of the value at ``place``, or of the nearest that encloses it."""
        node, line = self.root, self.root.start_mark.line
        for part in place:
            found = _inner(node, part)
            if found is None:
                continue  # a level that the file does not spell out, such as a list of one value
            line, node = found
        return line + 1

    def error(self, faults: Iterable[Fault]) -> UserError:
        """All faults as one error, a line for each, in the order of the file."""
        lines = sorted({(self.line(fault.place), fault.reason) for fault in faults})
        return UserError("\n".join(f"{self.name}:{line}: {reason}" for line, reason in lines))


def read_yaml(path: Path, *, name: str | None = None) -> YamlFile:
    """Read a file of options.

    Args:
        path: the file.
        name: what errors call it. Defaults to the path.

    Raises:
        UserError: it is missing, is not YAML, sets an option twice, or holds no options.
    """
    called = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"There is no study file {called}. 'rt study list' names the studies that come along."
        ) from None
    except IsADirectoryError:
        raise UserError(f"{called} is a folder. Name the study file in it.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{called} is not valid YAML: {error}") from error
    values = parse_yaml(Path(called), text)
    root = yaml.compose(text, yaml.SafeLoader)
    assert root is not None  # it has options
    return YamlFile(called, values, root)


def _inner(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    """The line and the node of one part of a mapping or a list."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None
