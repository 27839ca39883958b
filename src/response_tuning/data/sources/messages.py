"""The one reader of conversations: messages of every usual layout into examples, one per assistant turn.

A message has a role and a text under the names of OpenAI (``role``, ``content``), ShareGPT (``from``, ``value``) or
similar ones. Everything else in a message is either used here (``weight``, ``train``) or counted as not used.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal

from response_tuning.data.sources.usage import Usage
from response_tuning.example import Turn
from response_tuning.support.records import json_type, preview

__all__ = [
    "Message",
    "alternating_turns",
    "as_messages",
    "examples_of",
    "is_conversation",
    "read_messages",
    "text_messages",
]

Role = Literal["user", "assistant", "system"]

_ROLES: dict[str, Role | Literal["tool"]] = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "chatbot", "bot", "model", "ai"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "function_call", "tool_call", "observation", "tool_response"), "tool"),
    "ipython": "tool",
}
_ROLE_FIELDS = ("role", "from", "speaker")
_CONTENT_FIELDS = ("content", "value", "text")
# OpenAI and Mistral; axolotl; ms-swift and InternLM; others.
_LOSS_FIELDS = ("weight", "train", "training", "loss", "loss_mask", "loss_weight", "trainable")
_TOOL_FIELDS = ("tool_calls", "function_call")
_PAIRED_TURNS = (("input", "output"), ("human", "assistant"), ("user", "assistant"))
_TEXT_PARTS = ("text", "input_text", "output_text")
_TOOL_PARTS = ("tool_use", "tool_result", "tool_call", "function_call")
_REASONING_PARTS = ("thinking", "reasoning", "redacted_thinking")
_TOOL_TURNS = "conversations' turns from the first tool call on, which no chat format here can hold"


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    trains: bool = True
    """Whether an assistant's message gets a loss; otherwise it is context."""
    field: str = ""
    """Where it was read, such as ``messages.2``."""


class _ToolTurnError(ValueError):
    """A message that calls a tool or holds its result."""


def is_conversation(value: object) -> bool:
    """Whether ``value`` is a list of messages: objects with a role."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and any(name in message for name in _ROLE_FIELDS) for message in value)
    )


def as_messages(value: object) -> object:
    """Two other forms of a conversation as a list of messages; anything else as it is.

    A column of messages that a table transposed (``datasets`` does) is an object of lists: ``{"role": [...],
    "content": [...]}``. XTuner and others write each question with its answer: ``[{"input": ..., "output": ...}]``.
    """
    if isinstance(value, dict):
        columns = list(value.values())
        if (
            any(name in value for name in _ROLE_FIELDS)
            and all(isinstance(column, list) for column in columns)
            and len({len(column) for column in columns}) == 1
        ):
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        for asked, answered in _PAIRED_TURNS:
            if all(answered in turn and set(turn) <= {asked, answered, "system"} for turn in value):
                return [message for turn in value for message in _paired(turn, asked, answered)]
    return value


def _paired(turn: dict[str, Any], asked: str, answered: str) -> list[dict[str, Any]]:
    """A question and its answer as messages; either may be missing, as in XTuner's data for pre-training."""
    parts = (("system", turn.get("system")), ("user", turn.get(asked)), ("assistant", turn[answered]))
    return [{"role": role, "content": text} for role, text in parts if role == "assistant" or text not in (None, "")]


def read_messages(value: object, field: str, usage: Usage) -> list[Message]:
    """The messages of a conversation up to the first tool call; the rest is counted as left out.

    Args:
        value: the list of messages.
        field: its name in the row, for errors.
        usage: counts what is not used.

    Raises:
        ValueError: it is not a list of messages with known roles and texts.
    """
    if not isinstance(value, list):
        raise ValueError(f"field {field!r} is {json_type(value)}, not a list: {preview(value)}")
    messages: list[Message] = []
    for number, message in enumerate(value, start=1):
        try:
            messages.append(_message(message, f"{field}.{number}", usage))
        except _ToolTurnError:
            if not any(earlier.role == "assistant" for earlier in messages):
                raise ValueError(
                    f"field '{field}.{number}' is a tool call or its result, and no assistant turn precedes it: "
                    "tool turns cannot be trained on"
                ) from None
            usage.skip(_TOOL_TURNS, f"{field}.{number}")
            break
    return messages


def text_messages(texts: Sequence[str], field: str) -> list[Message]:
    """Texts that alternate between user and assistant, as LIMA and the original UltraChat write conversations."""
    return [
        Message("user" if place % 2 == 0 else "assistant", text, field=f"{field}.{place + 1}")
        for place, text in enumerate(texts)
    ]


def examples_of(messages: Iterable[Message], field: str, usage: Usage) -> list[dict[str, Any]]:
    """The fields of one example per assistant message that trains, with the turns before it as context.

    A system message is put in front of the next user turn, or stands for it. Neighbouring messages of one side are one
    turn, joined by a blank line. An assistant turn without text is skipped and stays context.

    Raises:
        ValueError: no assistant message has text.
    """
    messages = list(messages)
    turns = alternating_turns(messages, usage)
    system = _leading_system(messages) if usage.keeps_system else ""
    places = [place for place, turn in enumerate(turns) if turn.role == "assistant"]
    if not places:
        raise ValueError(f"field {field!r} has no message of the role 'assistant'")
    trained = [place for place in places if turns[place].trains]
    if not trained:
        usage.skip("conversations whose assistant turns all have the weight 0")
    filled = [place for place in trained if turns[place].content.strip()]
    empty = [turns[place].field or field for place in trained if not turns[place].content.strip()]
    if empty and not filled:
        raise ValueError(f"field '{empty[0]}' is empty, and no other assistant turn has text")
    for name in empty:
        usage.skip("assistant turns without text", name)
    if places[-1] < len(turns) - 1:
        usage.skip("user turns that no response follows", turns[-1].field)
    context = [Turn(role="user" if turn.role == "user" else "assistant", content=turn.content) for turn in turns]
    own = {"system": system} if system else {}
    return [_turn_fields(context, place) | own for place in filled]


def _leading_system(messages: Sequence[Message]) -> str:
    """The system messages before the first turn, as they are joined at the head of a user's turn."""
    leading = takewhile(lambda message: message.role == "system", messages)
    return "\n\n".join(message.content for message in leading)


def _turn_fields(turns: list[Turn], place: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if place > 0:
        fields["prompt"] = turns[place - 1].content
    fields["completion"] = turns[place].content
    if place > 1:
        fields["earlier_turns"] = turns[: place - 1]
    return fields


def alternating_turns(messages: Iterable[Message], usage: Usage) -> list[Message]:
    """User and assistant turns in strict alternation; a system message is put in front of the next user turn."""
    turns: list[Message] = []
    system = ""
    last = None
    for message in messages:
        last = message
        if message.role == "system":
            system = f"{system}{message.content}\n\n"
            continue
        if message.role == "user":
            message, system = replace(message, content=system + message.content), ""
        elif system:
            _append(turns, Message("user", system.removesuffix("\n\n"), field=message.field), usage)
            system = ""
        _append(turns, message, usage)
    if system and last is not None:
        usage.skip("system messages that no turn follows", last.field)
    return turns


def _append(turns: list[Message], message: Message, usage: Usage) -> None:
    if not turns or turns[-1].role != message.role:
        turns.append(message)
        return
    before = turns.pop()
    if before.role == "assistant" and before.trains != message.trains:
        usage.skip("assistant turns that are trained in part only (joined messages, one of weight 0)", message.field)
    parts = [part for part in (before.content, message.content) if part]
    joined = Message(before.role, "\n\n".join(parts), before.trains and message.trains, before.field)
    turns.append(joined)


def _message(message: object, field: str, usage: Usage) -> Message:
    if not isinstance(message, dict):
        raise ValueError(f"field {field!r} is {json_type(message)}, not an object: {preview(message)}")
    role_field = next((name for name in _ROLE_FIELDS if message.get(name) is not None), _ROLE_FIELDS[0])
    role = _role(message.get(role_field), field)
    if role == "tool" or any(message.get(name) for name in _TOOL_FIELDS):
        raise _ToolTurnError(field)
    content_field = next((name for name in _CONTENT_FIELDS if message.get(name) is not None), _CONTENT_FIELDS[0])
    content = _content(message.get(content_field), role, field, usage)
    trains = _trains(message, role, field, usage)
    used = {role_field, content_field, *_LOSS_FIELDS}
    usage.unused_message_fields.update(
        [name for name, part in message.items() if name not in used and part not in (None, [], {}, "")]
    )
    return Message(role, content, trains, field)


def _role(value: object, field: str) -> Role | Literal["tool"]:
    role = _ROLES.get(value.lower()) if isinstance(value, str) else None
    if role is None:
        raise ValueError(f"field {field!r} has the role {preview(value)}; it should be user, assistant or system")
    return role


def _content(content: object, role: Role, field: str, usage: Usage) -> str:
    if content is None and role == "assistant":
        return ""  # as OpenAI writes a turn without text
    if isinstance(content, list):
        return "".join(_part(part, f"{field}.content.{number}", usage) for number, part in enumerate(content, start=1))
    if not isinstance(content, str):
        raise ValueError(f"field {field!r} has {json_type(content)} as its content, not a string: {preview(content)}")
    return content


def _part(part: object, field: str, usage: Usage) -> str:
    """The text of one part of a content, as multimodal servers write them."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str):
        raise ValueError(f"field {field!r} is {json_type(part)}, not a part of a message: {preview(part)}")
    if kind in _TOOL_PARTS:
        raise _ToolTurnError(field)
    if kind in _REASONING_PARTS:
        usage.unused_message_fields[f"content ({kind})"] += 1
        return ""
    text = part.get("text")
    if kind not in _TEXT_PARTS or not isinstance(text, str):
        raise ValueError(f"field {field!r} is a part of the type {preview(kind)}, which has no text to train on")
    return text


def _trains(message: dict[str, Any], role: Role, field: str, usage: Usage) -> bool:
    """Whether a message gets a loss; every field that decides it has to agree."""
    trains = True
    for name in _LOSS_FIELDS:
        value = message.get(name)
        if value is None:
            continue
        if value not in (0, 1):
            raise ValueError(f"field '{field}.{name}' is {preview(value)}; only 0 and 1, or false and true, are known")
        if role == "assistant":
            trains &= bool(value)
        elif value:
            usage.unused_message_fields[f"{name} (of a {role} message)"] += 1
    return trains
