"""Measures of a response's text: whether it copies its instruction, loops, or continues with invented turns."""

import re

__all__ = ["copies", "copy_fraction", "invented_turn", "loops", "repeat_fraction", "repeats_little"]

_COPY_WORDS = 3
_COPY_LIMIT = 0.5
_REPEAT_WORDS = 4
_REPEAT_LIMIT = 0.3
_CYCLE_CHARACTERS = 24
_CYCLES = 4
_LONGEST_CYCLE = 60
_LINES = 4
_DIFFERENT_LINES = 0.5


def copy_fraction(instruction: str, response: str) -> float:
    """The fraction of the response's words in runs of at least three words copied from the instruction.

    A response of one or two words copies nothing: a label or a name is often a word of its instruction.
    """
    words = _words(response)
    copied = set(_runs(_words(instruction), _COPY_WORDS))
    covered = {
        place
        for start, run in enumerate(_runs(words, _COPY_WORDS))
        if run in copied
        for place in range(start, start + _COPY_WORDS)
    }
    return len(covered) / len(words) if words else 0.0


def copies(instruction: str, response: str) -> bool:
    """Whether at least half of the response's words are copied from the instruction."""
    return copy_fraction(instruction, response) >= _COPY_LIMIT


def repeat_fraction(response: str) -> float:
    """The fraction of the response's four-word runs that occurred in it before."""
    return _repeated(_words(response))


def loops(response: str) -> bool:
    """Whether the response repeats itself.

    More than 30% of its four-word runs are repetitions (numbers aside, so that a numbered list of one item loops); or
    fewer than half of its four or more lines are different; or the same characters follow each other four times and
    more, over at least 24 characters without spaces and punctuation, which finds loops without words.
    """
    words = [word for word in _words(response) if not word.isdecimal() and word not in _ORDINALS]
    if _repeated(words) > _REPEAT_LIMIT or _has_cycle(response):
        return True
    lines = [" ".join(re.findall(r"[^\W\d]+", line.lower())) for line in response.split("\n") if line.strip()]
    named = [line for line in lines if line]
    return len(named) >= _LINES and len(set(named)) < _DIFFERENT_LINES * len(named)


def repeats_little(response: str) -> bool:
    """Whether a response that may loop is a finished text with some repetition: no run until a limit cut it."""
    is_finished = re.search(r"[.!?][\"'”’)]*\s*$", response) is not None  # noqa: RUF001
    return is_finished and repeat_fraction(response) <= _LITTLE_REPETITION and not _has_cycle(response)


_LITTLE_REPETITION = 0.45
_ORDINALS = frozenset(
    {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "next"}
)


def _repeated(words: list[str]) -> float:
    runs = _runs(words, _REPEAT_WORDS)
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _has_cycle(text: str) -> bool:
    """Whether a unit of up to 60 characters follows itself again and again."""
    marks = "".join(character for character in text.lower() if character.isalnum() or ord(character) > _ASCII)
    if len(marks) < _CYCLE_CHARACTERS:
        return len(marks) >= _SHORT_CYCLE and len(set(marks)) == 1
    return any(len(found[0]) >= _CYCLE_CHARACTERS for found in _CYCLE.finditer(marks))


_CYCLE = re.compile(rf"(.{{1,{_LONGEST_CYCLE}}}?)\1{{{_CYCLES - 1},}}")
_ASCII = 127
_SHORT_CYCLE = 6


def invented_turn(response: str) -> int | None:
    """Where the response continues with another turn of a dialogue that nobody had with it; None if it does not.

    Such a turn is a line that begins with the user's marker of a chat format, or with "Question:", "Q:", "User:" and
    the like.
    """
    found = _TURN.search(response)
    return found.start() if found else None


_SPEAKERS = "question|query|q|user|human|instruction|prompt|student|customer"
_MARKERS = r"<\|(?:user|im_start|assistant|system|endoftext)|<start_of_turn>|\[INST\]"
_TURN = re.compile(
    rf"(?:^|\n)[ \t]*(?:(?:\*\*|#+ )?(?:{_SPEAKERS})[ \t]*\d*(?:\*\*)?[ \t]*:"
    rf"|###[ \t]*(?:instruction|input|response|user|human)\b|{_MARKERS})",
    re.IGNORECASE,
)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
