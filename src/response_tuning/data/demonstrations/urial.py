"""URIAL's published prompt as data (Lin et al. 2023, arXiv 2312.01552; ``inst_1k_v4``): fetched, never packaged."""

import re

from response_tuning.example import Example
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError

__all__ = ["read_urial", "urial_preamble"]

_PAIR = re.compile(
    r"^# Query:\n```\n(?P<query>.*?)\n```\n\n# Answer:\n```\n(?P<answer>.*?)\n```$", re.DOTALL | re.MULTILINE
)
_OF_CONVERSATIONS = "a list of conversations between a human and an AI assistant (you)"
_OF_RESPONSES = "a list of responses of AI assistant (you)"


def read_urial(*, offline: bool = False) -> tuple[str, list[Example]]:
    """The preamble and the three demonstrations, character for character as published.

    Raises:
        UserError: the file cannot be fetched, or is not the published one.
    """
    text = fetch(ASSETS["urial"], offline=offline).read_text(encoding="utf-8")
    first = _PAIR.search(text)
    if first is None:
        raise UserError(f"{ASSETS['urial'].url} holds no demonstrations.")
    pairs = [Example(prompt=pair["query"], completion=pair["answer"]) for pair in _PAIR.finditer(text)]
    return text[: first.start()], pairs


def urial_preamble(preamble: str, *, of_responses: bool) -> str:
    """URIAL's preamble for demonstrations of responses alone, as An, Kim & Kim 2025 (section 6, URIAL-R) change it.

    The sentence that says where queries stand remains, though the demonstrations have none.
    """
    return preamble.replace(_OF_CONVERSATIONS, _OF_RESPONSES) if of_responses else preamble
