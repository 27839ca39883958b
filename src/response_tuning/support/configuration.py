"""Configurations as YAML files: read with errors that name file, line and field, and written back whole."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, cast

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from response_tuning.support.errors import UserError
from response_tuning.support.files import write_text

__all__ = ["differences", "explain", "read_values", "write_config"]


def read_values(path: Path, config_type: type[BaseModel]) -> dict[str, Any]:
    """The fields that a YAML file sets, checked; required ones may be missing (the command line can give them).

    Raises:
        UserError: the file is missing, is not YAML, or sets a field that does not exist or a value that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"There is no configuration file {path}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} should hold one 'option: value' a line.")
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


def explain(error: ValidationError) -> str:
    """What is wrong with the values of a configuration, a line for each."""
    return "\n".join(
        f"--{str(detail['loc'][0]).replace('_', '-')} is {detail['input']!r}: {_bound(detail)}"
        for detail in error.errors()
    )


def write_config(path: Path, config: BaseModel) -> None:
    """Write the resolved configuration, every field of it."""
    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def differences(path: Path, config: BaseModel, *, ignore: frozenset[str] = frozenset()) -> list[str]:
    """What differs between a written configuration and ``config``, one line a field.

    A field that was not written, by a version that did not know it, counts as its default.
    """
    fields_written = {name: field for name, field in type(config).model_fields.items() if not field.exclude}
    defaults = {name: field.default for name, field in fields_written.items() if not field.is_required()}
    written = {**defaults, **yaml.safe_load(path.read_text(encoding="utf-8"))}
    wanted = config.model_dump(mode="json")
    fields = [field for field in {**written, **wanted} if field not in ignore]
    return [
        f"{field}: {written.get(field)!r} there, {wanted.get(field)!r} now"
        for field in fields
        if written.get(field) != wanted.get(field)
    ]


def _check(config_type: type[BaseModel], name: str, value: Any) -> Any:
    field = config_type.model_fields.get(name)
    if field is None:
        near = difflib.get_close_matches(name, config_type.model_fields, n=1)
        raise ValueError(f"there is no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else "."))
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(cast(Any, Annotated[field.annotation, field]))
        return adapter.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"option {name!r} is {value!r}: {_bound(error.errors()[0])}") from None


def _bound(detail: Any) -> str:
    """Pydantic's sentence on a value, in the middle of ours."""
    return f"{detail['msg'].replace('Input should', 'it should', 1)}."


def _line_of(text: str, name: str) -> str:
    found = re.search(rf"^{re.escape(name)}\s*:", text, flags=re.MULTILINE)
    return f":{text.count(chr(10), 0, found.start()) + 1}" if found else ""
