"""Non-instructional tuning: the first half of an ordinary text as the prompt, its continuation as the response.

Source: Xie et al. 2024, "Non-instructional Fine-tuning" (arXiv 2409.00096), who have the continuation written by a
larger model; here it is the text's own.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from response_tuning.data.data_config import NonInstructionalConfig
from response_tuning.data.sources.load import SourceOptions, read_rows
from response_tuning.example import Example, check_output, only_good, write_examples
from response_tuning.support.errors import UserError

__all__ = ["Halved", "halve", "non_instructional", "pieces"]

_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)]*\s+|\n+")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Halved:
    """What became of the texts."""

    texts: int
    written: int
    too_short: int
    """Pieces of fewer than the least words."""


def non_instructional(config: NonInstructionalConfig) -> Halved:
    """Write an example of each piece of each text.

    Raises:
        UserError: the source cannot be read, or all its texts are too short.
    """
    check_output(config.output, config.source)
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
    write_examples(config.output, examples)
    return Halved(len(texts), len(examples), too_short)


def pieces(text: str, *, most_words: int) -> Iterator[str]:
    """Cut a text between paragraphs into pieces of about ``most_words`` words; a longer paragraph is cut in words."""
    piece: list[str] = []
    words = 0
    for paragraph in _paragraphs(text, most_words):
        count = len(paragraph.split())
        if piece and words + count > most_words:
            yield "\n\n".join(piece)
            piece, words = [], 0
        piece.append(paragraph)
        words += count
    if piece:
        yield "\n\n".join(piece)


def halve(text: str) -> tuple[str, str] | None:
    """Cut a text near its middle: at the end of a sentence in its middle third, else between two words.

    None where it is a single word.
    """
    text = text.strip()
    middle = len(text) / 2
    cuts = [match for match in _SENTENCE_END.finditer(text) if abs(match.end() - middle) <= len(text) / 6]
    cuts = cuts or list(_SPACE.finditer(text))
    if not cuts:
        return None
    cut = min(cuts, key=lambda match: abs(match.end() - middle)).end()
    return text[:cut].strip(), text[cut:].strip()


def _paragraphs(text: str, most_words: int) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        spaces = list(_SPACE.finditer(paragraph.strip()))
        start = 0
        for space in spaces[most_words - 1 :: most_words]:
            yield paragraph.strip()[start : space.start()]
            start = space.end()
        yield paragraph.strip()[start:]
