"""Texts as checks read them: plain marks, sentences, content words, phrases."""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator

__all__ = [
    "LIST_MARK",
    "Phrase",
    "Phrases",
    "content_words",
    "is_function_word",
    "pairs",
    "pattern_of",
    "plain",
    "quoted_source",
    "sentences",
    "stem",
    "trigrams",
    "words",
]

_APOSTROPHES = "\u2018\u2019\u02bc\u00b4\u2032"
_QUOTES = "\u201c\u201d\u201e\u00ab\u00bb"
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2212"
_SAME_MARK = str.maketrans(dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_QUOTES, '"') | dict.fromkeys(_DASHES, "-"))
LIST_MARK = r"[ \t]*(?:[-*•·+]|\(?\d{1,2}[.):]|\(?[a-zA-Z][.)])[ \t]+"
"""The beginning of a list item."""
_ABBREVIATIONS = r"(?<!\bMr\.)(?<!\bDr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bvs\.)"
_SENTENCE_END = re.compile(rf"{_ABBREVIATIONS}(?<=[.!?])[\"')\]*_]*\s+|\n+")
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,80}>")

_GRAMMAR = """
a about above after again all also am an and any are as at be because been before being below between both but by
can can't cannot could did do does doing don't down during each either else ever every few for from further get gets
give given go goes got had has have having he her here hers him his how i i'll i'm i've if in into is isn't it it's
its itself just let like made make makes many may me might mine more most much must my myself neither no nor not now
of off on once one only or other our ours out over own please put quite rather really same say says see shall she
should since so some somebody someone something such take than that that's the their theirs them then there these
they thing things this those through to too under until up us use very want was way we well were what when where
which while who whom whose why will with within without would yes yet you you're your yours
"""
_FUNCTION_WORDS = frozenset(_GRAMMAR.split())


def plain(text: str) -> str:
    """The text with one kind of apostrophe, quotation mark and dash, and without HTML tags and bold marks."""
    text = unicodedata.normalize("NFKC", text).translate(_SAME_MARK)
    return _TAG.sub("", text).replace("**", "").replace("__", "")


def words(text: str) -> list[str]:
    """The words and numbers of a text, in lower case; ``don't``, ``1,200`` and ``13.32`` are one each."""
    return re.findall(r"\d+(?:[.,:]\d+)*|[^\W_]+(?:'[^\W_]+)*", text.lower())


@lru_cache(maxsize=10_000)
def stem(word: str) -> str:
    """A word without its regular ending, so that ``sleeps``, ``sleeping`` and ``sleep`` are equal. Rough, English."""
    word = word.removesuffix("'s")
    for ending in ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending) + ("y" if ending in ("ies", "ied") else "")
            break
    return word.removesuffix("e") if len(word) > 3 else word


def is_function_word(word: str) -> bool:
    """Whether a word (in lower case) carries grammar rather than content, or is a single letter."""
    return word in _FUNCTION_WORDS or (len(word) == 1 and word.isascii() and word.isalpha())


@lru_cache(maxsize=1_000)
def content_words(text: str) -> tuple[str, ...]:
    """The stems of the words that carry content, in their order."""
    return tuple(stem(word) for word in words(text) if not is_function_word(word))


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, in their order, each without line breaks."""
    return [" ".join(part.split()) for part in _SENTENCE_END.split(text) if re.search(r"\w", part)]


def quoted_source(prompt: str) -> str:
    """The longest text in double quotation marks, or what follows the first blank line or colon at a line's end."""
    quoted = re.findall(r'"([^"]+)"', prompt)
    if quoted:
        return str(max(quoted, key=len))
    _, _, after = prompt.partition("\n")
    return after.strip()


def trigrams(text: str) -> list[tuple[str, str, str]]:
    """The runs of three words of a text, in lower case."""
    found = words(text)
    return list(zip(found, found[1:], found[2:], strict=False))


def pairs(text: str) -> set[frozenset[str]]:
    """The pairs of neighbouring words, one of content at least, in either order ("are mentioned", "mentioned are").

    Articles are left out: they go with any noun.
    """
    found = [word for word in words(text) if word not in ("a", "an", "the")]
    return {frozenset(pair) for pair in pairwise(found) if not all(is_function_word(word) for word in pair)}


@cache
def pattern_of(phrase: str) -> re.Pattern[str]:
    """The expression that finds a phrase: see ``Phrase``."""
    alternatives = "|".join(_alternative(part) for part in phrase.split("|"))
    # "2" is neither a part of "2.5" nor of "1,200".
    return re.compile(rf"(?<!\w)(?<!\d[.,])(?:{alternatives})(?!\w)(?![.,]\d)", re.IGNORECASE)


def _alternative(text: str) -> str:
    return r"[\s-]+".join(_word(word) for word in re.split(r"[\s-]+", plain(text).strip()))


def _word(word: str) -> str:
    if word == "*":
        return r"[\w']+"
    return re.escape(word.removesuffix("*")) + (r"[\w']*" if word.endswith("*") else "")


def _usable(phrase: str) -> str:
    if any(not re.search(r"[^\s*-]", part) for part in phrase.split("|")):
        raise ValueError("is a phrase without a word; write words, 'warm*', 'car|automobile' or 'the * of'")
    return phrase


Phrase = Annotated[str, AfterValidator(_usable)]
"""Words to find: whole words in any case; ``warm*`` is any word that begins so, a lone ``*`` any one word, and ``|``
separates alternatives. Spaces and hyphens are equal."""


def _some(phrases: Sequence[str]) -> Sequence[str]:
    if not phrases:
        raise ValueError("is an empty list")
    return phrases


Phrases = Annotated[list[Phrase], AfterValidator(_some)]
