"""Texts as words and word n-grams, for comparing texts. Time is linear in the length of the text."""

import re
import unicodedata
import zlib
from functools import cache

__all__ = ["normalised", "run_hashes", "words"]

# Chinese, Japanese and Korean have no spaces between words, so each character counts as a word.
_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_SYMBOLS = "#%&*/@\\"
"""Punctuation by Unicode's categories that can be all that two texts differ in: C# and C, && and ||."""


def normalised(text: str) -> str:
    """A text as it is compared, never as it is trained on: composed (NFC), in the usual width, of visible letters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_usual_forms()))


def words(text: str) -> list[str]:
    """The words and symbols of a text in lower case, without punctuation; of punctuation alone, the whole text."""
    comparable = normalised(text).casefold()
    return _word().findall(comparable) or comparable.split()


def run_hashes(text_words: list[str], length: int) -> set[int]:
    """The 32-bit hashes of all n-grams of ``length`` words; a shorter text has one hash, of all its words."""
    if len(text_words) <= length:
        return {_hash(text_words)}
    return {_hash(text_words[start : start + length]) for start in range(len(text_words) - length + 1)}


def _hash(run: list[str]) -> int:
    return zlib.crc32(" ".join(run).encode("utf-8", "replace"))


@cache
def _word() -> re.Pattern[str]:
    """A run of anything but spaces and punctuation. A minus before a digit and a "not" before a name belong to it."""
    characters = (chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000)
    is_punctuation = (
        character
        for character in characters
        if (character not in _SYMBOLS + "_" and unicodedata.category(character)[0] == "P") or character == "`"
    )
    outside = re.escape("".join(is_punctuation))
    word = rf"[^\s{outside}{_WITHOUT_SPACES}]+"
    return re.compile(rf"{word}|[{_WITHOUT_SPACES}]|(?:(?<!\w)-(?=\d)|!(?=[\w=])){word}")


@cache
def _usual_forms() -> dict[int, str]:
    """Other forms of letters by their code: full-width and half-width ones, ligatures, and spaces of a fixed width.

    Characters that nobody sees, such as a zero-width space or a soft hyphen, become nothing.
    """
    ranges = (range(0xFB00, 0xFDFE), range(0xFE70, 0xFEFD), range(0xFF01, 0xFFEF))
    forms = {code: unicodedata.normalize("NFKC", chr(code)) for codes in ranges for code in codes}
    spaces = dict.fromkeys((0x00A0, 0x2007, 0x202F, 0x3000), " ")
    return {**forms, **spaces, **dict.fromkeys((0x00AD, 0x200B, 0x2060, 0xFEFF), "")}
