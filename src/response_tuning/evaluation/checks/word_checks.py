"""Checks of a response's words: which occur, which are new, and how many are copied."""

import re
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from response_tuning.evaluation.checks.answer_checks import numbers_in
from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.text import (
    LIST_MARK,
    Phrases,
    content_words,
    is_function_word,
    pattern_of,
    trigrams,
    words,
)

__all__ = ["Adds", "Contains", "Draws", "KnownNumbers", "Lacks", "Matches", "Name", "QuoteFree", "Shorter", "Starts"]


class Contains(BaseModel):
    """At least ``at_least`` different phrases of the list occur."""

    model_config = STRICT
    type: Literal["contains"]
    any: Phrases
    at_least: int = Field(default=1, ge=1)
    new: bool = False
    """Whether words that the prompt has, too, do not count."""

    @model_validator(mode="after")
    def _can_hold(self) -> "Contains":
        if self.at_least > len(self.any):
            raise ValueError(f"at_least is {self.at_least}, but 'any' has {len(self.any)} phrases")
        return self

    def holds(self, reading: Reading) -> bool:
        """Whether enough of the phrases are found."""
        return sum(self._occurs(pattern_of(phrase), reading) for phrase in self.any) >= self.at_least

    def _occurs(self, pattern: re.Pattern[str], reading: Reading) -> bool:
        given = f" {' '.join(words(reading.asked))} " if self.new else ""
        found = (" ".join(words(match[0])) for match in pattern.finditer(reading.text))
        return any(f" {phrase} " not in given for phrase in found)


class Lacks(BaseModel):
    """None of the phrases occurs."""

    model_config = STRICT
    type: Literal["lacks"]
    any: Phrases

    def holds(self, reading: Reading) -> bool:
        """Whether no phrase is found."""
        return not any(pattern_of(phrase).search(reading.text) for phrase in self.any)


class Starts(BaseModel):
    """The response begins with one of the phrases, after list marks and quotation marks."""

    model_config = STRICT
    type: Literal["starts"]
    any: Phrases

    def holds(self, reading: Reading) -> bool:
        """Whether a phrase is at the beginning."""
        text = re.sub(rf"^(?:{LIST_MARK}|[\s\"'#>*-])+", "", reading.text)
        return any(pattern_of(phrase).match(text) for phrase in self.any)


class Matches(BaseModel):
    """A regular expression is found, in any case; ``^`` and ``$`` are the ends of lines."""

    model_config = STRICT
    type: Literal["matches"]
    pattern: str

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return pattern

    def holds(self, reading: Reading) -> bool:
        """Whether the expression is found."""
        return re.search(self.pattern, reading.text, re.IGNORECASE | re.MULTILINE) is not None


class Adds(BaseModel):
    """The response has at least ``at_least`` content words that its prompt does not have."""

    model_config = STRICT
    type: Literal["adds"]
    at_least: int = Field(default=3, ge=1)

    def holds(self, reading: Reading) -> bool:
        """Whether enough words are new."""
        return len(reading.added) >= self.at_least


class Draws(BaseModel):
    """At least this fraction of the response's content words are words of its prompt, as in an extract or a summary."""

    model_config = STRICT
    type: Literal["draws"]
    at_least: float = Field(default=0.4, ge=0, le=1)

    def holds(self, reading: Reading) -> bool:
        """Whether enough words are the prompt's."""
        own = set(content_words(reading.text))
        return len(own) - len(reading.added) >= self.at_least * len(own)


class KnownNumbers(BaseModel):
    """Every number in digits is one of the prompt's, as in an extract or a summary, or one of ``also``."""

    model_config = STRICT
    type: Literal["known_numbers"]
    also: list[float] = Field(default_factory=list)
    """Numbers that are right as well, such as the years of a fact."""

    def holds(self, reading: Reading) -> bool:
        """Whether no number is new. Numbers of a list's marks are none, and "four" in the prompt is 4."""
        text = re.sub(rf"^{LIST_MARK}", "", reading.text, flags=re.MULTILINE)
        known = {value for _, value in numbers_in(reading.asked)} | set(self.also)
        new = {word for word in words(text) if word[0].isdigit()} - set(words(reading.asked))
        return all({value for _, value in numbers_in(word)} <= known for word in new)


class Name(BaseModel):
    """The response names something that the prompt does not: a proper name or a number."""

    model_config = STRICT
    type: Literal["name"]

    def holds(self, reading: Reading) -> bool:
        """Whether there is such a name."""
        asked = set(words(reading.asked))
        return any(found.lower() not in asked for sentence in reading.sentences for found in _names(sentence))


def _names(sentence: str) -> list[str]:
    """Words with a capital inside a sentence, numbers, and an opening word that is a subject or all there is."""
    inside = re.findall(r"(?<=[\w,:;] )['\"(]*([A-Z][\w'-]+|\d[\d.,]*)", sentence)
    opening = re.match(
        r"\W*([A-Z][\w'-]+)(?: [A-Z][\w'-]+)*\W*(?:$|[.,]|(?:is|was|were|are|has|had|did|\w+ed)\b)", sentence
    )
    found = [*inside, *([opening[1]] if opening else [])]
    return [name for name in found if not is_function_word(name.lower())]


class QuoteFree(BaseModel):
    """At most this fraction of the response's word trigrams is copied from the prompt, or from the text it quotes."""

    model_config = STRICT
    type: Literal["quote_free"]
    of: Literal["prompt", "source"] = "prompt"
    at_most: float = Field(default=0.6, ge=0, le=1)

    def holds(self, reading: Reading) -> bool:
        """Whether little enough is copied."""
        own = trigrams(reading.text)
        given = set(trigrams(reading.asked if self.of == "prompt" else reading.source))
        return sum(each in given for each in own) <= self.at_most * len(own)


class Shorter(BaseModel):
    """The response has at most ``ratio`` times the words of the prompt, or of the text that the prompt quotes."""

    model_config = STRICT
    type: Literal["shorter"]
    than: Literal["prompt", "source"] = "source"
    ratio: float = Field(default=0.7, gt=0)

    def holds(self, reading: Reading) -> bool:
        """Whether the response is short enough."""
        given = reading.asked if self.than == "prompt" else reading.source or reading.asked
        return len(words(reading.text)) <= self.ratio * len(words(given))
