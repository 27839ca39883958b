"""Configurations as YAML files: read with errors that name file, line and field, and written back whole.

A configuration may hold its options in groups, fields that are pydantic models themselves. Files, flags and error
messages know the options by their own names alone, as if there were no groups: an option's name is unique.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from response_tuning.support.errors import UserError
from response_tuning.support.files import write_text

__all__ = [
    "changed",
    "differences",
    "explain",
    "flatten",
    "group_type",
    "nest",
    "options_of",
    "parse_yaml",
    "read_values",
    "require_once",
    "write_config",
]

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True)
class Option:
    """One option of a configuration."""

    group: str
    """The field of the group that holds it; empty at the top level."""
    field: FieldInfo


@cache
def options_of(config_type: type[BaseModel]) -> dict[str, Option]:
    """Every option of a configuration by its name, those of its groups included, in order."""
    options: dict[str, Option] = {}
    for name, field in config_type.model_fields.items():
        group = group_type(field)
        inner = {name: Option("", field)} if group is None else _in_group(name, group)
        assert not options.keys() & inner.keys(), f"{config_type.__name__} has an option twice"
        options |= inner
    return options


def group_type(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a group of options; None of an option."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _in_group(name: str, group: type[BaseModel]) -> dict[str, Option]:
    return {option: Option(name, field) for option, field in group.model_fields.items()}


def flatten(config: BaseModel, *, mode: str = "python", only_given: bool = False) -> dict[str, Any]:
    """The options of a configuration by name, without groups and without those that are never written.

    Args:
        config: The configuration.
        mode: Of pydantic: "json" for values that a file can hold.
        only_given: Leave out what has its default because nothing else was given.
    """
    values: dict[str, Any] = {}
    for name, value in config.model_dump(mode=mode, exclude_unset=only_given).items():
        values |= value if group_type(type(config).model_fields[name]) else {name: value}
    return values


def nest(config_type: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Put options by name into their groups. Values of groups themselves stay, and those of options come before them.

    Raises:
        ValueError: there is no option of some name; names the nearest.
    """
    options = options_of(config_type)
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group = group_type(field) if (field := config_type.model_fields.get(name)) else None
        if group:
            nested[name] = {**_given(name, group, value), **nested.get(name, {})}
        elif field:
            nested[name] = value
        elif name in options:
            of = options[name].group
            nested[of] = {**nested.get(of, {}), name: value}
        else:
            raise ValueError(unknown_option(config_type, name))
    return nested


def _given(name: str, group: type[BaseModel], value: Any) -> Mapping[str, Any]:
    """The options that a value of a group sets."""
    if isinstance(value, group):
        return flatten(value, only_given=True)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} should be {group.__name__} or a mapping of its options, and is {value!r}")
    return value


def unknown_option(config_type: type[BaseModel], name: str) -> str:
    """That there is no such option, and which one has the nearest name."""
    near = difflib.get_close_matches(name, options_of(config_type), n=1)
    return f"there is no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ".")


def changed(config: Config, **options: Any) -> Config:
    """A configuration with other values for some options, by their names, validated again.

    Raises:
        UserError or pydantic.ValidationError, as the type raises: the options do not fit together.
    """
    never_written = {name: getattr(config, name) for name, field in type(config).model_fields.items() if field.exclude}
    given = {**never_written, **flatten(config, only_given=True), **options}
    return type(config).model_validate(nest(type(config), given))


def read_values(path: Path, config_type: type[BaseModel]) -> dict[str, Any]:
    """The options that a YAML file sets, validated; required ones may be missing (the command line can give them).

    Raises:
        UserError: the file is missing, is not YAML, or sets an option that does not exist or a value that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"There is no configuration file {path}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    values = parse_yaml(path, text)
    checked: dict[str, Any] = {}
    errors: list[str] = []
    for name, value in values.items():
        try:
            checked[name] = _check(config_type, str(name), value)
        except ValueError as error:
            errors.append(f"{path}{_line_of(text, str(name))}: {error}")
    if errors:
        raise UserError("\n".join(errors))
    return checked


def explain(error: ValidationError, config_type: type[BaseModel]) -> str:
    """What is wrong with the values of a configuration or of one of its groups, a line for each."""
    return "\n".join(_explain_one(detail, config_type) for detail in error.errors())


def _explain_one(detail: Any, config_type: type[BaseModel]) -> str:
    if detail["type"] == "value_error":  # a sentence of ours, about several options
        return str(detail["ctx"]["error"])
    if detail["type"] == "extra_forbidden":
        return unknown_option(config_type, str(detail["loc"][-1]))
    option = next(part for part in detail["loc"] if part in options_of(config_type))
    typed = f"--{option.replace('_', '-')}"
    if detail["type"] == "missing":
        return f"{typed} is required."
    return f"{typed} is {detail['input']!r}: {_bound(detail)}"


def write_config(path: Path, config: BaseModel) -> None:
    """Write the resolved configuration, every option of it."""
    write_text(path, yaml.safe_dump(flatten(config, mode="json"), sort_keys=False, allow_unicode=True))


def written_options(path: Path) -> dict[str, Any]:
    """The options in a configuration that was written, as they are, by whichever version; none without such a file.

    Raises:
        UserError: the file is not YAML, or does not hold options.
    """
    try:
        return parse_yaml(path, path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error


def parse_yaml(path: Path, text: str) -> dict[str, Any]:
    """The options in the text of a file, each of which is there once.

    Raises:
        UserError: the text is not YAML, sets an option twice, or does not hold options.
    """
    try:
        require_once(path, yaml.compose(text, yaml.SafeLoader))
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold one 'option: value' a line.")
    return values


def require_once(path: Path, node: yaml.Node | None, *, kind: str = "option ") -> None:
    """Require that no mapping, at any depth, has a key twice: YAML would take the last one.

    Args:
        path: the file, for the error.
        node: what it holds.
        kind: what the error calls a key.

    Raises:
        UserError: names file, line and key.
    """
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, str(key.value)
            if name in lines:
                raise UserError(f"{path}:{line}: {kind}{name!r} is set in line {lines[name]} already. Remove one.")
            lines[name] = line
            inner += [value]
    elif isinstance(node, yaml.SequenceNode):
        inner += node.value
    for part in inner:
        require_once(path, part, kind=kind)


def differences(path: Path, config: BaseModel, *, ignore: frozenset[str] = frozenset()) -> list[str]:
    """What differs between a written configuration and ``config``, one line an option.

    An option that was not written, by a version that did not know it, counts as its default.
    """
    defaults = {
        name: option.field.default
        for name, option in options_of(type(config)).items()
        if not option.field.exclude and not option.field.is_required()
    }
    written = {**defaults, **written_options(path)}
    wanted = flatten(config, mode="json")
    fields = [field for field in {**written, **wanted} if field not in ignore]
    return [
        f"{field}: {written.get(field)!r} there, {wanted.get(field)!r} now"
        for field in fields
        if not _is_equal(written.get(field), wanted.get(field))
    ]


def _is_equal(written: Any, wanted: Any) -> bool:
    """Whether two values are equal, or name the same file or folder."""
    if written == wanted or not (isinstance(written, str) and isinstance(wanted, str)):
        return bool(written == wanted)
    try:
        return Path(written).samefile(wanted)
    except (OSError, ValueError):  # no path, or nothing is there
        return False


def _check(config_type: type[BaseModel], name: str, value: Any) -> Any:
    option = options_of(config_type).get(name)
    if option is None:
        raise ValueError(unknown_option(config_type, name))
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, Annotated[option.field.annotation, option.field]))
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"option {name!r} is {value!r}: {_bound(error.errors()[0])}") from None


def _bound(detail: Any) -> str:
    """Pydantic's sentence on a value, in the middle of ours."""
    return f"{detail['msg'].replace('Input should', 'it should', 1)}."


def _line_of(text: str, name: str) -> str:
    found = re.search(rf"^{re.escape(name)}\s*:", text, flags=re.MULTILINE)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""
