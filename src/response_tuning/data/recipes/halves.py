"""Halves of ordinary texts: long ones in pieces, and each piece cut near its middle."""

import re
from collections.abc import Iterator
from itertools import pairwise

__all__ = ["halve", "pieces"]

_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\s+|\n+")
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\r?\n(?:[^\S\n]*\n)+")


def pieces(text: str, *, most_words: int) -> Iterator[str]:
    """Split a text into pieces of at most ``most_words`` words: between paragraphs, or inside a longer paragraph.

    A piece is a part of the text as it is: indentation and blank lines inside are kept.
    """
    start = end = words = 0
    for first, last in _paragraphs(text, most_words):
        count = len(text[first:last].split())
        if words and words + count > most_words:
            yield text[start:end]
            words = 0
        start, end, words = start if words else first, last, words + count
    if words:
        yield text[start:end]


def halve(text: str) -> tuple[str, str] | None:
    """Split a text near its middle: at the end of a sentence in its middle third, else between two words.

    Returns None for a single word.
    """
    text = text.strip()
    middle = len(text) / 2
    cuts = [match for match in _SENTENCE_END.finditer(text) if abs(match.end() - middle) <= len(text) / 6]
    cuts = cuts or list(_SPACE.finditer(text))
    if not cuts:
        return None
    cut = min(cuts, key=lambda match: abs(match.end() - middle)).end()
    return text[:cut].strip(), text[cut:].strip()


def _paragraphs(text: str, most_words: int) -> Iterator[tuple[int, int]]:
    """The start and end of each paragraph, and of the parts of one that is too long."""
    breaks = [(0, 0), *(match.span() for match in _BLANK_LINES.finditer(text)), (len(text), len(text))]
    for (_, start), (end, _) in pairwise(breaks):
        inside = len(text[start:end].rstrip()) + start
        first_word = start + len(text[start:inside]) - len(text[start:inside].lstrip())
        spaces = [match.span() for match in _SPACE.finditer(text, first_word, inside)]
        for space_start, space_end in spaces[most_words - 1 :: most_words]:
            yield start, space_start
            start = space_end
        if start < inside:
            yield start, inside
