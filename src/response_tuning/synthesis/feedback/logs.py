"""Logs of conversations with users: every usual layout of rows, WildChat's and WildFeedback's among them.

| rows | read as |
|---|---|
| a conversation (``messages``, ``conversation``, ``conversations``) | one log; WildChat's ``toxic``, ``redacted`` and ``openai_moderation`` mark it |
| one object for each utterance, with ``UtteranceId``, ``Role`` and ``Content`` (WildFeedback's annotations) | a log from each ``UtteranceId`` 0 on |

A user's message may carry labels: ``feedback`` ("satisfied", "dissatisfied", "both", "none"), or ``SAT`` and ``DSAT``.
"""  # noqa: E501 - a table

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.sources.layouts import CHAT_FIELDS
from response_tuning.data.sources.messages import alternating_turns, is_conversation, read_messages
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.usage import Usage
from response_tuning.example import Turn, refuse_bad
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record, json_type, preview

__all__ = ["FLAGGED", "REDACTED", "Log", "Reply", "Satisfaction", "read_logs", "replies_of"]

FLAGGED = "flagged"
REDACTED = "redacted"
_FLAGS = ("toxic", "flagged")
_WORDS: dict[str, tuple[bool, bool]] = {
    "satisfied": (True, False),
    "sat": (True, False),
    "dissatisfied": (False, True),
    "dsat": (False, True),
    "both": (True, True),
    "none": (False, False),
    "neither": (False, False),
}
_TRUE = ("true", "yes", "1")
_FALSE = ("false", "no", "0", "", "none", "null", "n/a")


@dataclass(frozen=True)
class Satisfaction:
    """What a user's message says about the answer before it; both may hold, and neither."""

    satisfied: bool
    dissatisfied: bool


@dataclass(frozen=True)
class Log:
    """One conversation."""

    place: str
    """``file:line`` of its row."""
    turns: tuple[Turn, ...]
    """User and assistant in turn; a system message is at the head of the user's turn after it."""
    problem: str | None = None
    """``FLAGGED`` or ``REDACTED`` where the row says so: nobody should learn from it."""
    labels: Mapping[int, Satisfaction] | None = None
    """Labels of users' turns by their position in ``turns``."""


@dataclass(frozen=True)
class Reply:
    """A response of the assistant, with the request that it answers and what followed."""

    log: Log
    position: int
    """Of the response in ``log.turns``."""

    @property
    def prompt(self) -> str:
        """The user's turn that it answers; empty if the assistant speaks first."""
        return self.log.turns[self.position - 1].content if self.position else ""

    @property
    def completion(self) -> str:
        """The response."""
        return self.log.turns[self.position].content

    @property
    def earlier_turns(self) -> tuple[Turn, ...]:
        """The conversation before the request."""
        return self.log.turns[: max(self.position - 1, 0)]

    @property
    def after(self) -> tuple[Turn, ...]:
        """What follows the response, the user's reaction first; empty at the end of a conversation."""
        return self.log.turns[self.position + 1 :]

    @property
    def label(self) -> Satisfaction | None:
        """What the row says about the user's reaction; None if it says nothing."""
        return (self.log.labels or {}).get(self.position + 1)


def replies_of(logs: Iterable[Log]) -> list[Reply]:
    """Every response to a user, in order."""
    return [
        Reply(log, position)
        for log in logs
        for position, turn in enumerate(log.turns)
        if turn.role == "assistant" and position and turn.content.strip()
    ]


def read_logs(path: str | Path) -> list[Log]:
    """Read all conversations of a file, or of a folder of files.

    Raises:
        UserError: it cannot be read, or has rows that are no conversation; the message lists them.
    """
    usage = Usage(str(path))
    logs: list[Log] = []
    bad: list[BadRow] = []
    for place, number, read in _conversations(read_file(Path(path))):
        usage.place = place
        try:
            logs.append(read(place, usage))
        except ValueError as error:
            bad.append(BadRow(place, number, str(error)))
    refuse_bad(bad)
    if not logs:
        raise UserError(f"{path} holds no conversations.")
    return logs


class _Conversation:
    """A row, or the utterances of one conversation, that are still to be read."""

    def __init__(self, row: Any) -> None:
        self.rows: list[Any] = [row]

    def __call__(self, place: str, usage: Usage) -> Log:
        first = self.rows[0]
        if not isinstance(first, dict):
            raise ValueError(f"is not a JSON object but {json_type(first)}: {preview(first)}")
        if _is_utterance(first):
            return _log([_message_of(row) for row in self.rows], "utterances", self.rows, place, usage)
        return _log(*_messages(first), [first], place, usage)


def _conversations(records: Iterable[Record | BadRow]) -> Iterator[tuple[str, int, _Conversation]]:
    """Each conversation with the place where it begins; utterances of one are joined."""
    current: tuple[str, int, _Conversation] | None = None
    for record in records:
        if isinstance(record, BadRow):
            raise UserError(str(record))
        continues = _is_utterance(record.value) and str(record.value["UtteranceId"]) != "0"
        if continues and current is not None:
            current[2].rows.append(record.value)
            continue
        if current is not None:
            yield current
        current = (record.place, record.number, _Conversation(record.value))
    if current is not None:
        yield current


def _is_utterance(row: Any) -> bool:
    return isinstance(row, dict) and {"UtteranceId", "Role", "Content"} <= row.keys()


def _message_of(row: dict[str, Any]) -> dict[str, Any]:
    role = str(row["Role"]).lower()
    return {**row, "role": "assistant" if role == "agent" else role, "content": row["Content"]}


def _messages(row: dict[str, Any]) -> tuple[list[Any], str]:
    """The messages of a row, and the name of their field."""
    if "chosen" in row and "rejected" in row:
        raise ValueError(
            "is a finished preference pair ('chosen', 'rejected'): train on it with rt train --preference-loss dpo"
        )
    for name in CHAT_FIELDS:
        if is_conversation(row.get(name)):
            return row[name], name
    raise ValueError(f"has no conversation such as 'messages' (it has: {', '.join(row) or 'none'})")


def _log(messages: list[Any], field: str, rows: list[Any], place: str, usage: Usage) -> Log:
    read = read_messages(messages, field, usage)
    turns = alternating_turns(read, usage)
    labels = {f"{field}.{number}": _label(message) for number, message in enumerate(messages, start=1)}
    found = {
        position: label
        for position, turn in enumerate(turns)
        if turn.role == "user" and (label := labels.get(turn.field)) is not None
    }
    return Log(
        place,
        tuple(Turn(role="user" if turn.role == "user" else "assistant", content=turn.content) for turn in turns),
        _problem([*rows, *messages]),
        found or None,
    )


def _problem(parts: list[Any]) -> str | None:
    objects = [part for part in parts if isinstance(part, dict)]
    moderated = [each for part in objects for each in _as_list(part.get("openai_moderation"))]
    if any(part.get(name) is True for part in [*objects, *moderated] for name in _FLAGS):
        return FLAGGED
    return REDACTED if any(part.get("redacted") is True for part in objects) else None


def _as_list(value: Any) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _label(message: dict[str, Any]) -> Satisfaction | None:
    """The label of a message; None if it has none.

    Raises:
        ValueError: it has one that cannot be read.
    """
    word = message.get("feedback")
    if word is not None:
        known = _WORDS.get(str(word).strip().lower())
        if known is None:
            raise ValueError(f"field 'feedback' is {preview(word)}; it should be one of {', '.join(_WORDS)}")
        return Satisfaction(*known)
    by_name = {name.lower(): value for name, value in message.items()}
    if "sat" not in by_name and "dsat" not in by_name:
        return None
    return Satisfaction(_is_true(by_name.get("sat")), _is_true(by_name.get("dsat")))


def _is_true(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value)
    text = str(value).strip().lower()
    if text in _FALSE or text in _TRUE:
        return text in _TRUE
    raise ValueError(f"a label SAT or DSAT is {preview(value)}; it should be true or false")
