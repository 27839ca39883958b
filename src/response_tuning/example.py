"""One training or evaluation example, and the JSONL file that holds many."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json_lines
from response_tuning.support.input_files import read_json_lines_file
from response_tuning.support.records import BadRow, json_type, preview, refuse_surrogates

__all__ = [
    "Example",
    "Row",
    "Turn",
    "by_cause",
    "check_no_input",
    "check_output",
    "example_from",
    "only_good",
    "read_examples",
    "refuse_bad",
    "require_prompts",
    "split_system",
    "write_examples",
]

_ERRORS_SHOWN = 20
_PLACES_SHOWN = 20
_DIGITS = re.compile(r"\d+")


class Turn(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: Literal["user", "assistant"]
    content: str


class Example(BaseModel):
    """A response and, if there is one, the instruction it answers.

    The field names are those of TRL's prompt-completion format. Unknown fields are kept unchanged.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    completion: str
    """The response. Response tuning needs nothing else."""
    prompt: str | None = None
    """The instruction, or None."""
    earlier_turns: list[Turn] | None = None
    """The conversation before the instruction: context for instruction tuning."""
    checks: Any = None
    """What a response to the prompt has to show, for ``rt probe``; ``evaluation.checks`` reads it. Training ignores it,
    and every command that copies rows keeps it."""

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


@dataclass(frozen=True)
class Row:
    """A valid row of a data set."""

    place: str
    """``file:line``, or ``file row 3`` for formats without lines."""
    number: int
    """The line or row, from 1."""
    example: Example


def read_examples(path: str | Path) -> list[Example]:
    """Read a JSONL file of examples.

    Raises:
        UserError: the file is missing or empty, or has bad rows; the message lists them by line and field.
    """
    rows: list[Row | BadRow] = []
    for record in read_json_lines_file(Path(path)):
        if isinstance(record, BadRow):
            rows.append(record)
            continue
        try:
            rows.append(Row(record.place, record.number, example_from(record.value)))
        except ValueError as error:
            rows.append(BadRow(record.place, record.number, str(error)))
    return only_good(rows, source=str(path))


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write examples as JSONL, atomically. ``read_examples`` returns equal ones."""
    write_json_lines(path, (example.model_dump(exclude_unset=True) for example in examples))


def check_output(output: Path, *sources: str | Path | None) -> None:
    """Validate the path of an output file before any long work.

    Raises:
        UserError: it does not end in .jsonl, or is one of the ``sources``, which must not be overwritten.
    """
    if output.suffix != ".jsonl":
        raise UserError(f"--output {output} should end in .jsonl, the format that is written.")
    check_no_input(output, *sources, option="--output")


def check_no_input(output: Path, *sources: str | Path | None, option: str) -> None:
    """Require that ``output`` is none of the files that are read, nor in a folder of them under its name.

    Raises:
        UserError: it is; writing would replace what is read.
    """
    for source in sources:
        path = Path(source or "")
        if not source or not output.exists() or not path.exists():
            continue
        if output.samefile(path) or (path.is_dir() and output.resolve().is_relative_to(path.resolve())):
            what = "the source itself" if output.samefile(path) else f"a file of the source {source}"
            raise UserError(f"{option} {output} is {what}. Choose another name.")


def only_good(rows: Sequence[Row | BadRow], *, source: str) -> list[Example]:
    """The examples of rows that are all valid.

    Raises:
        UserError: there are bad rows, which the message lists, or no rows at all.
    """
    refuse_bad(rows)
    if not rows:
        raise UserError(
            f'{source} holds no examples. Each line should look like {{"prompt": "...", "completion": "..."}}.'
        )
    return [row.example for row in rows if isinstance(row, Row)]


def refuse_bad(rows: Sequence[object]) -> None:
    """Require that no row is a ``BadRow``.

    Raises:
        UserError: there are some; the message lists them.
    """
    bad = [row for row in rows if isinstance(row, BadRow)]
    if bad:
        raise UserError("\n".join(by_cause(bad)))


def by_cause(bad: Sequence[BadRow]) -> list[str]:
    """One line per cause: its first row in full, and how many more rows it concerns, with the places of a few."""
    causes: dict[str, list[BadRow]] = {}
    for row in bad:
        causes.setdefault(_DIGITS.sub("0", row.reason.partition(": ")[0]), []).append(row)
    lines = []
    for rows in list(causes.values())[:_ERRORS_SHOWN]:
        places = [row.place for row in rows[1 : 1 + _PLACES_SHOWN]]
        dots = ", ..." if len(rows) > 1 + _PLACES_SHOWN else ""
        more = f"\n  and {len(rows) - 1:,} more rows of this kind: {', '.join(places)}{dots}" if places else ""
        lines.append(f"{rows[0]}{more}")
    rest = sum(len(rows) for rows in list(causes.values())[_ERRORS_SHOWN:])
    return [*lines, f"... and {rest:,} more bad rows."] if rest else lines


def require_prompts(examples: list[Example], *, source: str, purpose: str) -> None:
    """Require a prompt in every example, for a ``purpose`` that needs one.

    Raises:
        UserError: examples without a prompt; the message counts them and names the first.
    """
    missing = [number for number, example in enumerate(examples, start=1) if not (example.prompt or "").strip()]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(examples)} rows have no prompt, which {purpose} needs "
            f"(the first is row {missing[0]}). Response tuning (--method rt) needs no prompts."
        )


def split_system(example: Example) -> tuple[str | None, tuple[Turn, ...], str | None]:
    """The prompt and the earlier turns without the system text, and the system text; None if there is none.

    A system message is at the head of the user's first turn, before a blank line, as every reader puts it there. The
    field ``system`` says which part of that turn it is.
    """
    turns = tuple(example.earlier_turns or ())
    system = (example.model_extra or {}).get("system")
    if not isinstance(system, str) or not system.strip():
        return example.prompt, turns, None
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return _without_head(example.prompt, system), turns, system
    rest = _without_head(turns[first].content, system) or ""
    return example.prompt, (*turns[:first], Turn(role="user", content=rest), *turns[first + 1 :]), system


def _without_head(text: str | None, head: str) -> str | None:
    """``text`` without ``head`` and the blank line after it, where it begins with it."""
    if text is None or not text.startswith(head):
        return text
    rest = text[len(head) :]
    return rest.removeprefix("\n\n") if not rest or rest.startswith("\n\n") else text


def example_from(row: object) -> Example:
    """Make an example from a decoded row.

    Raises:
        ValueError: it is not an object, or a field is missing, empty or of the wrong type.
    """
    if not isinstance(row, dict):
        raise ValueError(f"is not a JSON object but {json_type(row)}: {preview(row)}")
    try:
        return Example.model_validate(row)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(dict(detail), row) for detail in error.errors())) from None


def _explain(detail: dict[str, Any], row: dict[str, Any]) -> str:
    name = str(detail["loc"][0])
    field = ".".join(str(part) for part in detail["loc"])
    value = detail["input"]
    if detail["type"] == "missing":
        return f"has no field {field!r} (it has: {', '.join(row) or 'none'})."
    if detail["type"] == "string_type":
        return f"field {field!r} is {json_type(value)}, not a string: {preview(value)}"
    return f"field {field!r} {detail['msg'].removeprefix('Value error, ')}: {preview(row.get(name))}"


def _encodable(text: str) -> str:
    refuse_surrogates(text)
    return text
