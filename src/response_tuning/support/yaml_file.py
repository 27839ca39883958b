"""A YAML file that holds one validated value: errors name file, line and field."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from response_tuning.support.configuration import require_once
from response_tuning.support.errors import UserError

__all__ = ["read_yaml"]

Value = TypeVar("Value")
_TEXT = "tag:yaml.org,2002:str"


def read_yaml(path: Path, adapter: TypeAdapter[Value]) -> Value:
    """Read a YAML file as the type of ``adapter``.

    Raises:
        UserError: the file is missing or is not YAML, a key occurs twice or is not text (YAML reads ``no`` as false),
            or a value does not fit. Every value that does not fit is listed, with its line and field.
    """
    root = _compose(path)
    if root is None:
        raise UserError(f"{path} is empty.")
    _require_text_keys(path, root)
    require_once(path, root, kind="")
    try:
        return adapter.validate_python(yaml.SafeLoader("").construct_document(root))
    except ValidationError as error:
        raise UserError("\n".join(_explain(path, root, detail) for detail in error.errors())) from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _compose(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"There is no file {path}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a wrong encoding is a ValueError
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _require_text_keys(path: Path, node: yaml.Node) -> None:
    """Require that every key, at any depth, is a text."""
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _require_text_keys(path, part)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if key.tag != _TEXT:
            raise UserError(f"{path}:{key.start_mark.line + 1}: {key.value} is no text in YAML. Put it in quotes.")
        _require_text_keys(path, value)


def _explain(path: Path, root: yaml.Node, detail: Any) -> str:
    """One line of an error: where the value is, and what is wrong with it."""
    location = [*detail["loc"]]
    if detail["type"] == "union_tag_invalid":  # pydantic names the mapping, and not its field
        location.append(detail["ctx"]["discriminator"].strip("'"))
    mark, fields = _locate(root, location)
    line = f":{mark.start_mark.line + 1}"
    return f"{path}{line}: {'.'.join(fields)}{': ' if fields else ''}{_what_is_wrong(detail)}"


def _what_is_wrong(detail: Any) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return "there is no such field."
        case "missing":
            return f"the field {detail['loc'][-1]!r} is missing."
        case "model_attributes_type" | "model_type" | "dict_type":
            return f"{detail['input']!r}: it should be a mapping of fields."
        case "union_tag_not_found":
            return f"the field {context['discriminator']} is missing."
        case "union_tag_invalid":
            return f"{context['tag']!r}: it should be one of {context['expected_tags']}."
    said = f"{detail['msg'].replace('Input should', 'it should', 1)}."
    return f"{detail['input']!r}: {said}" if isinstance(detail["input"], str | int | float | None) else said


def _locate(root: yaml.Node, location: Sequence[int | str]) -> tuple[yaml.Node, list[str]]:
    """The innermost node that an error's location names, and its fields. A location also names what is no field, such
    as the kind that was chosen by a field's value."""
    node, mark, fields = root, root, list[str]()
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is not None:
                mark, node = found
                fields.append(str(part))
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            mark = node = node.value[part]
            fields.append(str(part + 1))
    return mark, fields
