"""InFoBench's rows: an instruction and the yes/no questions that it was taken apart into."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.sources.readers import read_file
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, preview

__all__ = ["Instruction", "Requirement", "load_instructions"]

_PUBLISHED = (500, 2_250)
"""Instructions and requirements."""
_LEVELS = {"Easy_set": "easy", "Hard_set": "hard"}
"""Our name of each published subset."""


@dataclass(frozen=True)
class Requirement:
    """One thing that an instruction asks for."""

    question: str
    """Answered yes if a response meets it."""
    labels: tuple[str, ...]
    """Its kinds, in lower case: content, linguistic, style, format, number; it may have several, or none."""


@dataclass(frozen=True)
class Instruction:
    """An instruction with its input, and what it requires."""

    identifier: str
    text: str
    """The instruction as published, without its input."""
    input: str
    """May be empty."""
    level: str
    """easy, hard, or as the file names it; may be empty."""
    category: str
    """The domain or source; may be empty."""
    requirements: tuple[Requirement, ...]

    @property
    def prompt(self) -> str:
        """What a model is asked: the instruction, then its input after a blank line."""
        return f"{self.text}\n\n{self.input}" if self.input else self.text


def load_instructions(path: Path | None = None, *, offline: bool = False) -> list[Instruction]:
    """The instructions of a file; by default the published ones, in their order.

    Raises:
        UserError: the file is not available, is not the published one, or a row is not in InFoBench's form.
    """
    place = path or fetch(ASSETS["infobench"], offline=offline)
    instructions = []
    for record in read_file(place):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        try:
            instructions.append(_instruction(record.value, record.number))
        except ValueError as error:
            raise UserError(f"{record.place}: {error}") from error
    found = (len(instructions), sum(len(each.requirements) for each in instructions))
    if path is None and found != _PUBLISHED:
        raise UserError(
            f"{place} has {found[0]} instructions with {found[1]:,} requirements, but InFoBench has {_PUBLISHED[0]} "
            f"with {_PUBLISHED[1]:,}. Delete it."
        )
    if not instructions:
        raise UserError(f"{place} has no instructions.")
    return instructions


def _instruction(row: Any, number: int) -> Instruction:
    if not isinstance(row, dict):
        raise ValueError("is no object with 'instruction' and 'decomposed_questions'.")
    texts = {name: _text(row, name) for name in ("instruction", "input", "subset", "category")}
    if not texts["instruction"]:
        raise ValueError("has no text in 'instruction'.")
    return Instruction(
        identifier=str(row.get("id", number)),
        text=texts["instruction"],
        input=texts["input"],
        level=_LEVELS.get(texts["subset"], texts["subset"]),
        category=texts["category"],
        requirements=_requirements(row),
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"'{name}' is no text: {preview(value)}")
    return (value or "").strip()


def _requirements(row: dict[str, Any]) -> tuple[Requirement, ...]:
    questions = row.get("decomposed_questions")
    if not _are_texts(questions) or not questions:
        raise ValueError(f"'decomposed_questions' has to be a list of questions, and is {preview(questions)}")
    labels = row.get("question_label")
    if labels is None:
        labels = [[]] * len(questions)
    if not isinstance(labels, Sequence) or len(labels) != len(questions) or not all(map(_are_texts, labels)):
        raise ValueError(f"'question_label' has to be a list of labels for each question, and is {preview(labels)}")
    return tuple(
        Requirement(question.strip(), tuple(dict.fromkeys(label.strip().lower() for label in of_question)))
        for question, of_question in zip(questions, labels, strict=True)
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
