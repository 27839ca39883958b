"""Checks of an answer with one value: a number, a label, or values that belong to keys."""

import re
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from response_tuning.evaluation.checks.contract import STRICT, Reading
from response_tuning.evaluation.checks.text import Phrase, Phrases, pattern_of, words

__all__ = ["Label", "Number", "Pairs", "numbers_in"]

_UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_NUMBER_WORDS = {
    **{word: value for value, word in enumerate(_UNITS)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
    **{f"{ten}-{unit}": 10 * t + u for t, ten in enumerate(_TENS, start=2) for u, unit in enumerate(_UNITS[1:10], 1)},
    "hundred": 100,
    "dozen": 12,
}
_WORDS = "|".join(sorted(_NUMBER_WORDS, key=len, reverse=True))
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>-(?=\d))?(?:(?P<digits>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?|\d*\.?\d+(?:/\d+)?)(?![\d:])"
    rf"|\b(?P<word>{_WORDS})\b)",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"(?<![\d.:])(\d{1,2})[:.](\d{2})(?!\d)\s*(?P<half>am|pm|a\.m|p\.m|in the (?:afternoon|evening))?", re.I
)
_CUE = re.compile(
    r"=|:|\b(?:is|are|was|be|answer|total|totals|makes?|costs?|equals?|gives?|gets?|needs?|pays?|saves?|arrives?|has|have|"
    r"come to|comes to|get in|works out|amounts? to|takes?|leaves?|left|remain\w*|about|around|at|for)\b",
    re.I,
)
_DIRECT_WORDS = 12


def numbers_in(text: str) -> list[tuple[int, float]]:
    """The numbers of a text with their positions: digits, thousands with commas, fractions, words up to a hundred."""
    return [(found.start(), _value(found)) for found in _NUMBER.finditer(text)]


def _value(found: re.Match[str]) -> float:
    if found["word"]:
        return float(_NUMBER_WORDS[found["word"].lower()])
    numerator, _, denominator = found["digits"].replace(",", "").partition("/")
    value = float(numerator) / (float(denominator) or 1.0) if denominator else float(Fraction(numerator))
    return -value if found["sign"] else value


class Number(BaseModel):
    """The response states this number (or time, as ``"13:32"``) as its answer; without a value: any number.

    The answer is in the last sentence with a number: the one after its last "=", else after its last verb of a result,
    else the last one. A short first sentence may state it as well.
    """

    model_config = STRICT
    type: Literal["number"]
    value: float | str | list[float | str] | None = None
    tolerance: float = Field(default=0, ge=0)

    @field_validator("value")
    @classmethod
    def _times(cls, value: float | str | list[float | str] | None) -> float | str | list[float | str] | None:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and not re.fullmatch(r"\d{1,2}:\d{2}", each):
                raise ValueError(f'{each!r} is neither a number nor a time such as "13:32"')
        return value

    def holds(self, reading: Reading) -> bool:
        """Whether the answer is the value."""
        if self.value is None:
            return _states_a_number(reading)
        wanted = self.value if isinstance(self.value, list) else [self.value]
        return any(self._is_answer(value, sentence) for value in wanted for sentence in _answer_sentences(reading))

    def _is_answer(self, value: float | str, sentence: str) -> bool:
        if isinstance(value, str):
            hours, minutes = map(int, value.split(":"))
            return (hours, minutes) in _times_in(sentence) or (hours - 12, minutes) in _times_in(sentence)
        answer = _answer_in(sentence)
        return answer is not None and abs(answer - value) <= self.tolerance + 1e-9


def _answer_sentences(reading: Reading) -> list[str]:
    """The last sentence with a number, and the first if it is short."""
    stated = [sentence for sentence in reading.sentences if numbers_in(sentence) or _times_in(sentence)]
    direct = [sentence for sentence in stated[:1] if len(sentence.split()) <= _DIRECT_WORDS and "=" not in sentence]
    return [*stated[-1:], *direct]


def _answer_in(sentence: str) -> float | None:
    found = numbers_in(sentence)
    if not found:
        return None
    for cue in ("=", r"=|\b(?:answer|total|result|overall|pays?|costs?|needs?|saves?|is|are|be)\b"):
        ends = [match.end() for match in re.finditer(cue, sentence, re.I)]
        after = [value for start, value in found if ends and start >= ends[-1]]
        if after:
            return after[0]
    return found[-1][1]


def _times_in(text: str) -> set[tuple[int, int]]:
    times = set()
    for found in _TIME.finditer(text):
        hours, minutes = int(found[1]), int(found[2])
        afternoon = found["half"] is not None and not found["half"].lower().startswith("a") and hours < 12
        times.add((hours + 12 * afternoon, minutes))
    return times


def _states_a_number(reading: Reading) -> bool:
    asked = {value for _, value in numbers_in(reading.asked)}
    for sentence in reading.sentences:
        for start, value in numbers_in(sentence) or [(0, float(hours)) for hours, _ in _times_in(sentence)]:
            if value not in asked or _CUE.search(sentence[max(0, start - 25) : start]):
                return True
    return False


class Label(BaseModel):
    """Exactly one of the labels is given as the answer, and it is ``is``; without ``is``: any of them.

    The answer is the label that the response begins with, else the only one that it names without "not", else the first
    after a verb or a colon.
    """

    model_config = STRICT
    type: Literal["label"]
    one_of: Phrases
    is_: Phrase | None = Field(default=None, alias="is")

    @field_validator("one_of")
    @classmethod
    def _several(cls, labels: list[str]) -> list[str]:
        if len(labels) < 2:
            raise ValueError("needs at least two labels")
        return labels

    def holds(self, reading: Reading) -> bool:
        """Whether the given label is the right one."""
        given = self._given(reading.text)
        if given is None or self.is_ is None:
            return given is not None
        return given == self.is_ or pattern_of(self.is_).fullmatch(given.split("|")[0]) is not None

    def _given(self, text: str) -> str | None:
        found = sorted(
            (match.start(), match.end(), label)
            for label in self.one_of
            for match in pattern_of(label).finditer(text)
            if not _NEGATED.search(text[: match.start()])
        )
        if not found:
            return None
        first, end, label = found[0]
        others = {each for _, _, each in found} - {label}
        if not others:
            return label
        offered = any(each in others and start - end <= _LISTED for start, _, each in found)
        if len(words(text[:first])) <= _OPENING_WORDS and not offered:
            return label
        after_cue = [each for start, _, each in found if _LABEL_CUE.search(text[:start])]
        return after_cue[0] if len(set(after_cue)) == 1 else None


_OPENING_WORDS = 7
_LISTED = 6
"""The characters between labels that are listed, as in "price, service or quality"."""
_NEGATED = re.compile(
    r"\b(?:not|nor|neither|isn't|rather than|no|than|without)\W+(?:(?:about|a|an|the|in|of)\W+)*$", re.I
)
_LABEL_CUE = re.compile(
    r"(?:\b(?:is|are|was|as|be|answer|category|label|about|under|into|fits|to|it|queue|call it)\b|:)\W*(?:(?:a|an|the)\W+)?$",
    re.I,
)


class Pairs(BaseModel):
    """Each key is given with its values: in the same line or clause, and nearer than other keys.

    With ``wrong_allowed``, any of all the values counts for any key.
    """

    model_config = STRICT
    type: Literal["pairs"]
    pairs: dict[Phrase, Phrases] = Field(min_length=1)
    at_least: int | None = Field(default=None, ge=1)
    wrong_allowed: bool = False

    def holds(self, reading: Reading) -> bool:
        """Whether enough keys have all their values."""
        given = self._given(reading.text)
        every = {value for values in self.pairs.values() for value in values}
        complete = [
            bool(given[key] & every) if self.wrong_allowed else set(values) <= given[key]
            for key, values in self.pairs.items()
        ]
        return sum(complete) >= (self.at_least or len(self.pairs))

    def _given(self, text: str) -> dict[str, set[str]]:
        """The values that the response gives to each key."""
        given: dict[str, set[str]] = {key: set() for key in self.pairs}
        values = {value for own in self.pairs.values() for value in own}
        heading: str | None = None
        for clause in re.split(r"\n|(?<=[.;!?])\s", text):
            keys = _places(clause, given)
            for start, _, value in _places(clause, values):
                key = _owner(start, keys, heading)
                if key is not None:
                    given[key].add(value)
            heading = keys[-1][2] if keys else heading
        return given


def _places(text: str, phrases: dict[str, set[str]] | set[str]) -> list[tuple[int, int, str]]:
    return sorted((match.start(), match.end(), each) for each in phrases for match in pattern_of(each).finditer(text))


def _owner(start: int, keys: list[tuple[int, int, str]], heading: str | None) -> str | None:
    """The key of a value at ``start``: the last one before it, else the next of its clause, else the heading."""
    before = [key for _, end, key in keys if end <= start]
    after = [key for first, _, key in keys if first >= start]
    own = [key for first, end, key in keys if first <= start < end]
    return (own or before[-1:] or after[:1] or [heading])[0]
