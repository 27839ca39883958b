"""Verdicts that only the asked model can give: a last line with a nonce that is derived from what it was shown.

A text that is judged cannot contain the nonce, because the nonce depends on it: neither a text that dictates a verdict
nor an answer that quotes one is taken for a verdict.
"""

import hashlib
import re
from collections.abc import Iterable

__all__ = ["find_verdict", "verdict_code"]

_CODE_CHARACTERS = 4


def verdict_code(texts: Iterable[str]) -> str:
    """The nonce of a question that shows these texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:_CODE_CHARACTERS].upper()


def find_verdict(answer: str, code: str) -> str | None:
    """What follows the nonce in the last line of an answer; None unless exactly one line contains the nonce."""
    lines = [line.strip() for line in answer.strip().splitlines()]
    pattern = re.compile(rf"[*_`#\s]*VERDICT\s+{re.escape(code)}\s*:\s*(.+?)[*_`.\s]*", re.IGNORECASE)
    matches = [pattern.fullmatch(line) for line in lines]
    verdicts = [match for match in matches if match is not None]
    if len(verdicts) != 1 or matches[-1] is None:
        return None
    return verdicts[0].group(1).strip("*_` ")
