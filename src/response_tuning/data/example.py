"""One training or test example, and the JSONL file that holds many."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from response_tuning.errors import UserError
from response_tuning.files import write_json_lines

__all__ = ["Example", "read_examples", "require_prompts", "write_examples"]

_ERRORS_SHOWN = 20
_PREVIEW_CHARACTERS = 60


class Example(BaseModel):
    """A response, and the instruction it answers if there is one.

    The field names are those of TRL's prompt-completion format. Fields that this program does not know
    are kept as they are.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    completion: str
    """The response. Response tuning needs nothing else."""
    prompt: str | None = None
    """The instruction, or None."""

    @field_validator("completion")
    @classmethod
    def _has_text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty")
        return _encodable(value)

    @field_validator("prompt")
    @classmethod
    def _is_encodable(cls, value: str | None) -> str | None:
        return value if value is None else _encodable(value)


def read_examples(path: Path) -> list[Example]:
    """Read a JSONL file of examples.

    Raises:
        UserError: the file is missing or empty, or has bad rows; all of them are named by line and field.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a JSONL file with one example a line.")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.") from None
    examples: list[Example] = []
    errors: list[str] = []
    # Only a newline ends a row: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            examples.append(_parse(line))
        except ValueError as error:
            errors.append(f"{path}:{number}: {error}")
    if errors:
        raise UserError(_list_errors(errors))
    if not examples:
        raise UserError(f'{path} holds no examples. Each line should be like {{"prompt": "...", "completion": "..."}}.')
    return examples


def write_examples(path: Path, examples: list[Example]) -> None:
    """Write examples as JSONL, atomically. Reading the file gives equal examples."""
    write_json_lines(path, (example.model_dump(exclude_unset=True) for example in examples))


def require_prompts(examples: list[Example], *, source: str, purpose: str) -> None:
    """Refuse data in which an example has no prompt, for a ``purpose`` that needs one."""
    missing = [number for number, example in enumerate(examples, start=1) if not (example.prompt or "").strip()]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(examples)} rows have no prompt, which {purpose} needs "
            f"(the first is row {missing[0]}). Response tuning (--method rt) needs no prompts."
        )


def _parse(line: bytes) -> Example:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON ({error.msg} at column {error.colno}): {_preview(line)}") from None
    if not isinstance(row, dict):
        raise ValueError(f"is not a JSON object but {_json_type(row)}: {_preview(line)}")
    try:
        return Example.model_validate(row)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(dict(detail), row) for detail in error.errors())) from None


def _explain(detail: dict[str, Any], row: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        return f"has no field {field!r} (it has: {', '.join(row) or 'none'})."
    if detail["type"] == "string_type":
        return f"field {field!r} is {_json_type(row[field])}, not a string: {_preview(row[field])}"
    return f"field {field!r} {detail['msg'].removeprefix('Value error, ')}: {_preview(row[field])}"


def _encodable(text: str) -> str:
    """Refuse lone surrogates: they can stand in JSON but in no UTF-8 file and no tokenizer."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"has a lone surrogate at character {error.start}") from None
    return text


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _preview(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ascii(value)
    return text if len(text) <= _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS] + "..."


def _list_errors(errors: list[str]) -> str:
    shown = errors[:_ERRORS_SHOWN]
    rest = [f"... and {len(errors) - len(shown)} more bad rows."] if len(errors) > len(shown) else []
    return "\n".join([*shown, *rest])
