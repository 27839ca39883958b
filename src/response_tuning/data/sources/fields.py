"""Interpret a record: by the fields that are named, or by the layout that it is recognised to have."""

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.sources.layouts import CHAT_FIELDS, OWN_FIELDS, from_pair, with_others
from response_tuning.data.sources.messages import is_conversation
from response_tuning.data.sources.named_layouts import Layout, recognise_as
from response_tuning.data.sources.usage import Usage
from response_tuning.example import Example, Row, example_from
from response_tuning.support.records import BadRow, Record, json_type, preview

__all__ = ["Fields", "rows_from"]

# Common names in other data sets, in the order in which they are guessed, and suggested in errors.
_COMMON = {
    "completion": ("output", "response", "answer", "reply", "completion", "target", "solution", "assistant", "text"),
    "prompt": ("instruction", "question", "prompt", "query", "input", "problem", "request", "user", "title"),
    "context": ("context", "passage", "input"),
}
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")
_MISSING = object()
_TEMPLATE_MARKS = re.compile(
    r"<\|(?:im_start|user|assistant|start_header_id)\|>|<start_of_turn>|\[INST\]|### ?(?:Human|Instruction):"
)


@dataclass(frozen=True)
class Fields:
    """The names of the fields that become an example; None for a field that already has our name.

    A name may lead into nested values: ``choices[0].message.content``.
    """

    completion: str | None = None
    prompt: str | None = None
    context: str | None = None
    """Appended to the prompt after a blank line if not empty: Alpaca's ``input``, Dolly's ``context``."""

    @property
    def are_given(self) -> bool:
        """Whether any field was named."""
        return any((self.completion, self.prompt, self.context))


def rows_from(
    records: Iterable[Record | BadRow],
    fields: Fields,
    *,
    source: str | None = None,
    command: str | None = None,
    layout: Layout = "auto",
    keeps_system: bool = False,
) -> Iterator[Row | BadRow]:
    """Make one row from each record, and from a conversation one for each assistant turn.

    Args:
        records: the rows of a source, in order.
        fields: the fields to use; without any, the layout is recognised.
        source: the source's spec, for the lines that are logged at the end about layouts and unused fields; None logs
            only what is left out.
        command: as it was typed; an error names it with the fields that are likely meant.
        layout: the layout of all rows; auto recognises that of each.
        keeps_system: whether conversations keep their system message in the field ``system`` as well.
    """
    usage = Usage(source, keeps_system=keeps_system)
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        usage.place = record.place
        try:
            examples = _examples(record.value, fields, usage, command, layout)
        except ValueError as error:
            yield BadRow(record.place, record.number, str(error))
            continue
        for example in examples:
            yield Row(record.place, record.number, example)
    usage.report()


def _examples(value: object, fields: Fields, usage: Usage, command: str | None, layout: Layout) -> list[Example]:
    if not isinstance(value, dict):
        return [example_from(value)]  # raises, with the reason
    if fields.are_given:
        return [example_from(part) for part in _named(value, fields, usage)]
    recognised = recognise_as(value, layout, usage)
    if recognised is None:
        raise ValueError(_without_response(value, usage.source, command))
    return [example_from(part) for part in recognised]


def _named(value: dict[str, Any], fields: Fields, usage: Usage) -> list[dict[str, Any]]:
    """The examples of a row whose fields are named."""
    completion_field, prompt_field = fields.completion or "completion", fields.prompt or "prompt"
    prompt, completion = _lookup(value, prompt_field), _lookup(value, completion_field)
    if fields.prompt and prompt in (None, _MISSING):
        raise ValueError(_without_field(value, fields.prompt))
    if completion is _MISSING:
        raise ValueError(_without_field(value, completion_field))
    prompt = None if prompt is _MISSING else prompt
    context = _lookup(value, fields.context) if fields.context else None
    used = [completion_field, prompt_field, "earlier_turns", *filter(None, [fields.context])]
    if is_conversation(completion) or is_conversation(prompt):
        return with_others(from_pair(prompt, completion, [], usage), value, used, usage)
    if context not in (None, _MISSING, "", [], {}):
        if not isinstance(context, str) or not isinstance(prompt or "", str):
            raise ValueError(f"field {fields.context!r} is {json_type(context)}, not a string: {preview(context)}")
        prompt = f"{prompt}\n\n{context}" if prompt else context
    row = {"prompt": prompt, "completion": completion, "earlier_turns": value.get("earlier_turns")}
    own = {name: part for name, part in row.items() if part is not None or name == "completion"}
    return with_others([own], value, used, usage)


def _lookup(value: dict[str, Any], name: str) -> Any:
    """The field of that name, or the nested value that the name leads to; ``_MISSING`` where there is none."""
    if name in value:
        return value[name]
    found: Any = value
    for key, index in _STEP.findall(name):
        if key and isinstance(found, dict) and key in found:
            found = found[key]
        elif index and isinstance(found, list) and int(index) < len(found):
            found = found[int(index)]
        else:
            return _MISSING
    return found


def _without_field(value: dict[str, Any], name: str) -> str:
    return f"has no field {name!r} (it has: {', '.join(value) or 'none'})."


def _without_response(value: dict[str, Any], source: str | None, command: str | None) -> str:
    """The error for a row without a response, with a command that names the likely fields."""
    message = _without_field(value, "completion")
    if "role" in value and any(isinstance(value.get(name), str) for name in ("content", "text")):
        return f"{message} It is a single message: write the messages of each conversation as one list 'messages'"
    guessed = {field: _guess(value, names) for field, names in _COMMON.items()}
    if guessed["prompt"] in (None, guessed["context"]):
        guessed["context"] = None
    if guessed["completion"] is None:
        return f"{message} Name the field with the response: --completion-field NAME"
    if _TEMPLATE_MARKS.search(value[guessed["completion"]]):
        message += (
            f" Field {guessed['completion']!r} holds the marks of a chat template, which would be trained as text: use "
            "the messages themselves where there are any."
        )
    options = " ".join(f"--{field}-field {shlex.quote(name)}" for field, name in guessed.items() if name)
    if source is None:
        return f"{message} Name the fields to use: {options}"
    if command is None:
        target = shlex.quote(f"{Path(source.rstrip('/')).name.split('.')[0] or 'data'}-examples.jsonl")
        return f"{message} Name the fields to use: rt data prepare {shlex.quote(source)} {options} --output {target}"
    return f"{message} Name the fields to use: {command} {options}"


def _guess(value: dict[str, Any], names: Iterable[str]) -> str | None:
    """The first field whose name is one of ``names`` in any case, and which holds text."""
    by_name = {name.lower().strip(): name for name in reversed(value)}
    known = (by_name[name] for name in names if name in by_name and name not in (*OWN_FIELDS[2:], *CHAT_FIELDS))
    return next((name for name in known if isinstance(value[name], str)), None)
