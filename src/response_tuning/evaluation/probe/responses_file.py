"""Responses that exist already, from anywhere: a JSONL file, joined with the data by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from response_tuning.evaluation.checks.checked_rows import CheckedExamples
from response_tuning.example import refuse_bad
from response_tuning.inference.generate import Response
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import read_json_lines_file
from response_tuning.support.progress import say, warn
from response_tuning.support.records import BadRow, Record, json_type, preview

__all__ = ["JoinedResponses", "join_responses"]

_NAMED = 10


class _ResponseRow(BaseModel):
    """A row of the file. Other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    prompt: str
    response: str
    stopped: bool | None = None
    """Whether the response ended by itself; unknown where it is missing."""
    stops: bool | Literal["yes", "no"] | None = None
    """The same under the name of the measure, as labelled tables have it."""
    token_count: int = 0

    @property
    def ended(self) -> bool | None:
        """Whether the response ended by itself; None where that is unknown."""
        return self.stopped if self.stops is None else self.stops in (True, "yes")


@dataclass(frozen=True)
class JoinedResponses:
    """The responses of a file with the examples that they answer: one example for each response."""

    asked: CheckedExamples
    responses: list[Response]
    """One whose end is unknown counts as stopped."""
    stop_is_known: list[bool]


def join_responses(path: Path, data: CheckedExamples, *, source: str) -> JoinedResponses:
    """The responses of a file to the prompts of a data set, in the order of the file.

    Prompts are compared without the space around them. A prompt may have several responses. Prompts of the file that
    the data lack, and prompts of the data without a response, are logged by name and left out.

    Args:
        path: a JSONL file; each row has ``prompt`` and ``response``, and may have ``stopped`` (or ``stops``).
        data: the examples that were asked.
        source: their data spec, for messages.

    Raises:
        UserError: the file cannot be read, has bad rows (listed by line and field), or answers no prompt of the data.
    """
    places = {prompt.strip(): place for place, prompt in reversed(list(enumerate(data.prompts)))}
    rows = _read(path)
    unknown = [row.prompt for row in rows if row.prompt.strip() not in places]
    known = [row for row in rows if row.prompt.strip() in places]
    if not known:
        raise UserError(
            f"{path} has no response to a prompt of {source}; its first prompt is {preview(rows[0].prompt)}. Name the "
            "data that were asked: --data FILE"
        )
    answered = {row.prompt.strip() for row in known}
    missing = [prompt for prompt in places if prompt not in answered]
    _name(unknown, f"{path}: prompts that {source} does not have, left out", warn)
    _name(missing, f"{path}: prompts of {source} without a response, left out", say)
    order = [places[row.prompt.strip()] for row in known]
    return JoinedResponses(
        CheckedExamples([data.examples[place] for place in order], [data.checks[place] for place in order]),
        [Response(row.response, row.token_count, stopped=row.ended is not False) for row in known],
        [row.ended is not None for row in known],
    )


def _name(prompts: Sequence[str], what: str, log: Any) -> None:
    named = list(dict.fromkeys(prompts))
    if named:
        rest = f"\n  and {len(named) - _NAMED:,} more" if len(named) > _NAMED else ""
        log(f"{what} ({len(named):,}):" + "".join(f"\n  {preview(prompt)}" for prompt in named[:_NAMED]) + rest)


def _read(path: Path) -> list[_ResponseRow]:
    read = [record if isinstance(record, BadRow) else _row(record) for record in read_json_lines_file(path)]
    refuse_bad(read)
    rows = [row for row in read if isinstance(row, _ResponseRow)]
    if not rows:
        raise UserError(
            f'{path} holds no responses. Each line should look like {{"prompt": "...", "response": "..."}}.'
        )
    return rows


def _row(record: Record) -> _ResponseRow | BadRow:
    if not isinstance(record.value, dict):
        return BadRow(record.place, record.number, f"is not a JSON object but {json_type(record.value)}.")
    try:
        return _ResponseRow.model_validate(record.value)
    except ValidationError as error:
        return BadRow(record.place, record.number, "; ".join(_explain(dict(each), record) for each in error.errors()))


def _explain(detail: dict[str, Any], record: Record) -> str:
    field = str(detail["loc"][0])
    if detail["type"] == "missing":
        return f"has no field {field!r} (it has: {', '.join(record.value) or 'none'})."
    return f"field {field!r} is {json_type(detail['input'])}: {preview(detail['input'])}"
