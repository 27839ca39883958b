"""Non-instructional tuning: the first half of an ordinary text as the prompt, its continuation as the response.

Source: Xie et al. 2024, "Non-instructional Fine-tuning" (arXiv 2409.00096). They have a larger model write the
continuation; here it is the text's own.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.data.sources.source import SplitAt
from response_tuning.example import Example, only_good
from response_tuning.support.errors import UserError

__all__ = ["NonInstructional", "NonInstructionalConfig", "halve", "pieces"]

_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\s+|\n+")
_SPACE = re.compile(r"\s+")
_BLANK_LINES = re.compile(r"\r?\n(?:[^\S\n]*\n)+")


class NonInstructionalConfig(BaseModel):
    """Make pairs from ordinary texts: the first half is the prompt, its continuation the response (Xie et al. 2024).

    For example:
        rt data non-instructional books/ --output halves.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """A folder of .md and .txt files, or any other source; of rows, the response is the text."""
    output: Path
    """The JSONL file to write."""
    split_at: SplitAt = "files"
    """What counts as one text in text files: each file, or each section under a heading."""
    least_words: int = Field(default=40, ge=2)
    """Leave out shorter texts."""
    most_words: int = Field(default=400, ge=2)
    """Split longer texts between paragraphs."""


class NonInstructional:
    """``rt data non-instructional``: an example of each piece of each text."""

    name = "non-instructional"
    config = NonInstructionalConfig

    def make(self, config: NonInstructionalConfig) -> Made:
        """Split each text into pieces and halve each piece.

        Raises:
            UserError: the source cannot be read, or all its texts are too short.
        """
        texts = only_good(read_rows(config.source, SourceOptions(split_at=config.split_at)), source=config.source)
        examples: list[Example] = []
        too_short = 0
        for text in texts:
            others = {name: value for name, value in (text.model_extra or {}).items() if name != "prompt"}
            for piece in pieces(text.completion, most_words=config.most_words):
                halves = halve(piece) if len(piece.split()) >= config.least_words else None
                if halves is None:
                    too_short += 1
                else:
                    examples.append(Example.model_validate({"prompt": halves[0], "completion": halves[1], **others}))
        if not examples:
            raise UserError(f"{config.source}: no text has {config.least_words} words. Lower --least-words.")
        return Made(examples, {"made": len(examples), "left out, too short": too_short})


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
