"""Interpret a record: which fields are the instruction and the response, or hold a conversation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from response_tuning.example import Example, Row, Turn, example_from
from response_tuning.support.records import BadRow, Record, json_type, preview

__all__ = ["Fields", "rows_from"]

_CHAT_FIELDS = ("messages", "conversations")
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
# Common names in other data sets, suggested in errors.
_COMMON = {"completion": ("output", "response", "answer", "text"), "prompt": ("instruction", "question", "query")}


@dataclass(frozen=True)
class Fields:
    """The names of the fields that become an example; None for a field that already has our name."""

    completion: str | None = None
    prompt: str | None = None
    context: str | None = None
    """Appended to the prompt after a blank line if not empty: Alpaca's ``input``, Dolly's ``context``."""

    @property
    def are_given(self) -> bool:
        """Whether any field was named."""
        return any((self.completion, self.prompt, self.context))


def rows_from(records: Iterable[Record | BadRow], fields: Fields) -> Iterator[Row | BadRow]:
    """Make one row from each record, and from a conversation one for each assistant turn."""
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            for example in _examples(record.value, fields):
                yield Row(record.place, record.number, example)
        except ValueError as error:
            yield BadRow(record.place, record.number, str(error))


def _examples(value: object, fields: Fields) -> list[Example]:
    if not isinstance(value, dict):
        return [example_from(value)]  # raises, with the reason
    if fields.are_given:
        return [example_from(_renamed(value, fields))]
    if "completion" in value:
        return [example_from(value)]
    chat = next((name for name in _CHAT_FIELDS if name in value), None)
    if chat is not None:
        others = {name: part for name, part in value.items() if name != chat}
        return [example_from({**part, **others}) for part in _assistant_turns(value[chat], chat)]
    raise ValueError(_without_response(value))


def _renamed(value: dict[str, Any], fields: Fields) -> dict[str, Any]:
    completion, prompt = fields.completion or "completion", fields.prompt or "prompt"
    row: dict[str, Any] = {}
    if value.get(prompt) is not None:
        row["prompt"] = value[prompt]
    elif fields.prompt:
        raise ValueError(_without_field(value, fields.prompt))
    if completion not in value:
        raise ValueError(_without_field(value, completion))
    row["completion"] = value[completion]
    context = value.get(fields.context) if fields.context else None
    if context:
        if not isinstance(context, str) or not isinstance(row.get("prompt", ""), str):
            raise ValueError(f"field {fields.context!r} is {json_type(context)}, not a string: {preview(context)}")
        row["prompt"] = f"{row['prompt']}\n\n{context}" if row.get("prompt") else context
    used = {completion, prompt, fields.context, "prompt", "completion"}
    return {**row, **{name: part for name, part in value.items() if name not in used}}


def _without_field(value: dict[str, Any], name: str) -> str:
    return f"has no field {name!r} (it has: {', '.join(value) or 'none'})."


def _without_response(value: dict[str, Any]) -> str:
    message = _without_field(value, "completion")
    guesses = [
        f"--{field}-field {name}"
        for field, names in _COMMON.items()
        for name in [next((name for name in names if name in value), None)]
        if name
    ]
    return f"{message} Name the fields to use: {' '.join(guesses)}" if guesses else message


def _assistant_turns(messages: object, field: str) -> list[dict[str, Any]]:
    """Every assistant turn as the fields of an example, with the turns before it.

    A system message is prepended to the next user turn. Consecutive turns of the same role are joined.
    """
    if not isinstance(messages, list):
        raise ValueError(f"field {field!r} is {json_type(messages)}, not a list: {preview(messages)}")
    turns: list[Turn] = []
    system = ""
    for number, message in enumerate(messages, start=1):
        role, content = _role_and_content(message, f"{field}.{number}")
        if role == "system":
            system = f"{system}{content}\n\n"
            continue
        if role == "user":
            content, system = system + content, ""
        if turns and turns[-1].role == role:
            content = f"{turns.pop().content}\n\n{content}"
        turns.append(Turn.model_validate({"role": role, "content": content}))
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not places:
        raise ValueError(f"field {field!r} has no message of the role 'assistant'")
    return [_turn_fields(turns, place) for place in places]


def _turn_fields(turns: list[Turn], place: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if place > 0:
        fields["prompt"] = turns[place - 1].content
    fields["completion"] = turns[place].content
    if place > 1:
        fields["earlier_turns"] = [turn.model_dump() for turn in turns[: place - 1]]
    return fields


def _role_and_content(message: object, field: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise ValueError(f"field {field!r} is {json_type(message)}, not an object: {preview(message)}")
    role = message.get("role", message.get("from"))
    if role not in _ROLES:
        raise ValueError(f"field {field!r} has the role {preview(role)}; it should be user, assistant or system")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):  # parts, as multimodal servers write them
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else content
    if not isinstance(content, str):
        raise ValueError(f"field {field!r} has {json_type(content)} as its content, not a string: {preview(content)}")
    return _ROLES[role], content
