"""Every option of a command, described once: for the reference of the documentation and for shell completion."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from response_tuning.support.configuration import group_type, options_of

__all__ = ["DescribedOption", "described_options"]

_PLACEHOLDERS = {int: "INT", float: "NUMBER", Path: "PATH", str: "TEXT"}


@dataclass(frozen=True, kw_only=True)
class DescribedOption:
    """One option of a command, as its help shows it."""

    name: str
    """As typed: ``--max-length``, or the name of a positional argument in capitals."""
    field: str
    """Its name in a YAML file and in Python."""
    group: str
    """The heading under which the help lists it; empty for options outside a group."""
    values: str
    """What may be typed after it: ``error|drop``, ``INT``, ``PATH ...``; empty for a flag."""
    choices: tuple[str, ...]
    """The words to choose from; empty where any value of the type will do."""
    default: str
    """The default as it would be typed; "required" where there is none."""
    help: str
    """What it does: the docstring of the field."""

    @property
    def is_positional(self) -> bool:
        """Whether it is typed without a name before it."""
        return not self.name.startswith("-")


def described_options(config_type: type[BaseModel]) -> list[DescribedOption]:
    """The options of a command in the order of its help."""
    described = []
    for name, option in options_of(config_type).items():
        if any(part is tyro.conf.Suppress for part in option.field.metadata):
            continue  # written into files, never typed
        group = group_type(config_type.model_fields[option.group]) if option.group else None
        described.append(_described(name, option.field, group or config_type, heading=option.group))
    return described


def _described(name: str, field: FieldInfo, owner: type[BaseModel], *, heading: str) -> DescribedOption:
    markers = field.metadata  # what is written beside the type
    is_positional = any(part is tyro.conf.Positional for part in markers)
    typed = next((value for part in markers if (value := getattr(part, "name", None))), name)
    choices = _choices(field.annotation)
    metavar = next((value for part in markers if (value := getattr(part, "metavar", None))), None)
    return DescribedOption(
        name=str(typed).upper() if is_positional else f"--{str(typed).replace('_', '-')}",
        field=name,
        group=heading.replace("_", " "),
        values=metavar or _values(field.annotation, choices),
        choices=choices,
        default="required" if field.is_required() else _typed(field.get_default(call_default_factory=True)),
        help=_help(name, owner, markers),
    )


def _help(name: str, owner: type[BaseModel], markers: list[Any]) -> str:
    given = next((text for part in markers if isinstance(text := getattr(part, "help", None), str)), None)
    text = given or next((docs[name] for part in owner.__mro__ if name in (docs := _docstrings(part))), "")
    return " ".join(text.split())


@cache
def _docstrings(owner: type[Any]) -> dict[str, str]:
    """The docstring after each field of a class; a class that was made by a call has none of its own."""
    try:
        source = textwrap.dedent(inspect.getsource(owner))
    except (OSError, TypeError):
        return {}
    definition = ast.parse(source).body[0]
    if not isinstance(definition, ast.ClassDef):
        return {}
    return {
        field.target.id: str(after.value.value)
        for field, after in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def _choices(annotation: Any) -> tuple[str, ...]:
    """The words of a literal type, wherever it is within others."""
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return tuple(word for part in inner for word in _choices(part))


def _values(annotation: Any, choices: tuple[str, ...]) -> str:
    several = " ..." if get_origin(annotation) is tuple else ""
    if choices:
        return "|".join(choices) + several
    return "" if annotation is bool else _placeholder(annotation) + several


def _placeholder(annotation: Any) -> str:
    """The name of a type: of several alternatives the first one that is no None."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, tuple, Annotated):
        inner = [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]
        return _placeholder(inner[0]) if inner else "TEXT"
    return _PLACEHOLDERS.get(annotation, "TEXT")


def _typed(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return str(value)
