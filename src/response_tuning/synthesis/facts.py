"""Numbers and names that a rewritten text must not lose, found by regular expressions alone."""

import re

__all__ = ["lost_facts", "plain_marks"]

_PLAIN = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\uff1a": ":", "\u2022": "*"})
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))")
_LIST_NUMBER = re.compile(r"^[^\S\n]*\d+[.)]\s", re.MULTILINE)
_IN_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NAME = re.compile(r"(?<![\w'-])[^\W\d_][\w'-]*\w")
_POSSESSIVE = re.compile(r"'(s|m|ll|ve|d|re)$")
# After the end of a sentence or an opening mark a capital letter is no sign of a name.
_BEFORE_SENTENCE = frozenset(".!?:;*#>|([\"'/-")
_SKIPPED = frozenset("*_\"'(")


def lost_facts(original: str, revision: str) -> list[str]:
    """Numbers and names of ``original`` that ``revision`` lacks, sorted.

    A number up to twelve may become its word. Names are capitalised words inside sentences, so scripts without
    capitals have none.
    """
    original, revision = plain_marks(original), plain_marks(revision)
    words = {word.casefold() for word in _WORD.findall(revision)}
    lost = {number for number in _numbers(original) - _numbers(revision) if _in_words(number) not in words}
    parts = words | {part for word in words for part in word.split("-")} | {_POSSESSIVE.sub("", word) for word in words}
    lost |= {name for name in _names(original) if name.casefold() not in parts}
    return sorted(lost)


def plain_marks(text: str) -> str:
    """``text`` with typographic quotes, colons and bullets replaced by ASCII; the length stays the same."""
    return text.translate(_PLAIN)


def _numbers(text: str) -> set[str]:
    """Numbers as digits, without thousands separators and without the numbers of list items."""
    return {_THOUSANDS.sub("", number) for number in _NUMBER.findall(_LIST_NUMBER.sub("", text))}


def _in_words(number: str) -> str | None:
    is_small = len(number) <= 2 and number.isdecimal() and int(number) < len(_IN_WORDS)
    return _IN_WORDS[int(number)] if is_small else None


def _begins_sentence(line: str, start: int) -> bool:
    """Whether what begins at ``start`` follows the start of the line, the end of a sentence, or an opening mark."""
    for position in range(start - 1, -1, -1):
        if line[position] in _BEFORE_SENTENCE:
            return True
        if not line[position].isspace() and line[position] not in _SKIPPED:
            return False
    return True


def _names(text: str) -> set[str]:
    """Capitalised words inside sentences that never occur in lower case. Lines in title case are skipped."""
    small = {word for word in _WORD.findall(text) if word[0].islower()}
    names: set[str] = set()
    for line in text.splitlines():
        words = [word for word in _WORD.findall(line) if word[0].isalpha()]
        if sum(word[0].isupper() for word in words) > len(words) / 2:
            continue
        for match in _NAME.finditer(line):
            name = _POSSESSIVE.sub("", match.group())
            is_capitalised = len(name) > 1 and name[0].isupper() and name.casefold() not in small
            if is_capitalised and not _begins_sentence(line, match.start()):
                names.add(name)
    return names
