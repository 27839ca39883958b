"""Measures of a response's words: whether it copies its instruction, and whether it loops."""

import re

__all__ = ["echo_fraction", "echoes", "repeat_fraction", "repeats"]

_ECHO_WORDS = 3
_ECHO_LIMIT = 0.5
_REPEAT_WORDS = 4
_REPEAT_LIMIT = 0.3


def echo_fraction(instruction: str, response: str) -> float:
    """The fraction of the response's words in runs of at least three words copied from the instruction."""
    size = min(_ECHO_WORDS, len(_words(response)))
    words = _words(response)
    copied = set(_runs(_words(instruction), size))
    covered = {
        place for start, run in enumerate(_runs(words, size)) if run in copied for place in range(start, start + size)
    }
    return len(covered) / len(words) if words else 0.0


def echoes(instruction: str, response: str) -> bool:
    """Whether at least half of the response's words are copied from the instruction."""
    return echo_fraction(instruction, response) >= _ECHO_LIMIT


def repeat_fraction(response: str) -> float:
    """The fraction of the response's four-word runs that occurred in it before."""
    runs = _runs(_words(response), _REPEAT_WORDS)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def repeats(response: str) -> bool:
    """Whether the response loops: more than 30% of its four-word runs are repetitions."""
    return repeat_fraction(response) > _REPEAT_LIMIT


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)] if size else []
