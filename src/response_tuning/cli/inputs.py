"""No command replaces one of its own inputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from response_tuning.support.configuration import flatten
from response_tuning.support.errors import UserError

__all__ = ["require_inputs_kept"]

_OUTPUTS = ("output", "fix", "report", "plot")
"""Options that name a file to write."""


def require_inputs_kept(config: BaseModel, config_path: Path | None = None) -> None:
    """Require that no output of a command is a file that another of its options names.

    Raises:
        UserError: an output is an input, or another output.
    """
    values = flatten(config)
    outputs = {name: Path(values[name]) for name in _OUTPUTS if values.get(name) is not None}
    inputs = [path for name, value in values.items() if name not in _OUTPUTS for path in _paths(value)]
    for name, output in outputs.items():
        others = [path for other, path in outputs.items() if other != name]
        if any(output == other or _is_same_file(output, other) for other in others):
            raise UserError(f"--{name} {output} is named by another option, too. Choose another name for one of them.")
        if any(_is_same_file(output, path) for path in (*inputs, *([config_path] if config_path else []))):
            what = "the source itself" if _is_source(output, values) else "an input of this command"
            raise UserError(f"--{name} {output} is {what}. Choose another name.")


def _is_source(output: Path, values: dict[str, Any]) -> bool:
    return any(_is_same_file(output, path) for path in _paths(values.get("source")))


def _paths(value: Any) -> Iterator[Path]:
    for part in value if isinstance(value, list | tuple) else (value,):
        if isinstance(part, str | Path) and part and "\0" not in str(part):
            yield Path(part)


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.is_file() and one.samefile(other)
    except OSError:  # there is none, or its name is too long to be one
        return False
