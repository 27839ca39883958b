"""Texts as words and word n-grams, for comparing texts. Time is linear in the length of the text."""

import re
import zlib

__all__ = ["run_hashes", "words"]

# Chinese, Japanese and Korean have no spaces between words, so each character counts as a word.
_WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_WITHOUT_SPACES}]|[^\W{_WITHOUT_SPACES}]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def run_hashes(text_words: list[str], length: int) -> set[int]:
    """The 32-bit hashes of all n-grams of ``length`` words; a shorter text has one hash, of all its words."""
    if len(text_words) <= length:
        return {_hash(text_words)}
    return {_hash(text_words[start : start + length]) for start in range(len(text_words) - length + 1)}


def _hash(run: list[str]) -> int:
    return zlib.crc32(" ".join(run).encode("utf-8", "replace"))
