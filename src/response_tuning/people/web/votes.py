"""A vote as the page sends it."""

import math
from typing import Any

from response_tuning.people.protocol import Protocol
from response_tuning.people.store import Vote

__all__ = ["read_vote"]

_MOST_COMMENT = 4_000
_MOST_SECONDS = 1e7


def read_vote(said: Any, protocol: Protocol, *, shows_two: bool) -> Vote:
    """Read a vote.

    Args:
        said: The decoded JSON.
        protocol: What was asked.
        shows_two: Whether the screen shows two responses.

    Raises:
        ValueError: it is not complete, or a value is not one of the protocol's.
    """
    if not isinstance(said, dict):
        raise ValueError("a vote is an object")
    flagged, comment, seconds = said.get("flagged", False), said.get("comment", ""), said.get("seconds", 0)
    if not isinstance(flagged, bool):
        raise ValueError("'flagged' is true or false")
    if not isinstance(comment, str) or len(comment) > _MOST_COMMENT:
        raise ValueError(f"'comment' is a text of at most {_MOST_COMMENT} characters")
    if type(seconds) not in (int, float) or not math.isfinite(seconds) or not 0 <= seconds < _MOST_SECONDS:
        raise ValueError("'seconds' is a number of seconds")
    wanted = {
        "left_level": len(protocol.levels),
        "right_level": len(protocol.levels) if shows_two else 0,
        "preference": len(protocol.preference) if shows_two else 0,
    }
    values = {name: _choice(said.get(name), name, count, optional=flagged) for name, count in wanted.items()}
    if flagged and None in [values[name] for name, count in wanted.items() if count]:
        values = dict.fromkeys(values)  # a screen is rated as a whole or not at all
    return Vote(values["left_level"], values["right_level"], values["preference"], flagged, comment, float(seconds))


def _choice(value: object, name: str, count: int, *, optional: bool) -> int | None:
    if value is None and (not count or optional):
        return None
    if type(value) is int and 0 <= value < count:
        return value
    raise ValueError(f"{name!r} is not one of {count} choices")
