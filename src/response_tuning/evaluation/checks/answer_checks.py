"""Checks of an answer with one value: a number, a label, or values that belong to keys."""

import re
from fractions import Fraction
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.text import LIST_MARK, Phrase, Phrases, content_words, pattern_of

__all__ = ["Label", "Number", "Pairs", "numbers_in"]

_UNIT_WORDS = """
zero one two three four five six seven eight nine
ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_UNITS = _UNIT_WORDS.split()
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_TENS = _TEN_WORDS.split()
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
    """Whether there is a result: a number that the prompt lacks, or one of the prompt's with nothing beside it."""
    asked = {value for _, value in numbers_in(reading.asked)}
    given = [value for _, value in numbers_in(reading.text)]
    used = {float(digits) for digits in re.findall(r"\d+(?:\.\d+)?", reading.text.replace(",", ""))}
    if _CALCULATION.search(reading.text) and asked and not asked & {*given, *used}:
        return False  # a sum, but another one
    if any(value not in asked for value in given) or _times_in(reading.text) - _times_in(reading.asked):
        return True
    return _BARE_RESULT.match(reading.text.strip()) is not None and len(given) == 1


_CALCULATION = re.compile(r"\d\s*[-+*/x\u00d7\u00f7]\s*\d")
_BARE_RESULT = re.compile(
    r"(?:(?:it|that|this|the (?:\w+ ){1,3}|answer|result|total)\s?(?:is|was|are|costs?|makes|:|=)\s*)?"
    r"\W*[\w.,/%]+(?: \w+){0,2}\W*$",
    re.I,
)


class Label(BaseModel):
    """Exactly one of the labels is given as the answer, and it is ``is``; without ``is``: any of them.

    The answer is the label that the response begins with, else the one that stands after a verb such as "is", a
    preposition or a colon. Labels after "not" do not count, and a label that is merely mentioned is no answer.
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
        given = self._given(reading)
        if given is None or self.is_ is None:
            return given is not None
        headings = {
            each for start, end, each in _named(self.one_of, reading.text) if _opens_sentence(reading.text, start, end)
        }
        if headings - {given}:
            return False
        return given == self.is_ or pattern_of(self.is_).fullmatch(given.split("|")[0]) is not None

    def _given(self, reading: Reading) -> str | None:
        text = _OPENING.sub("", reading.text)
        found = _not_offered(_named(self.one_of, text), text)
        if not found:
            return None
        start, end, label = found[0]
        beside = content_words(text[:start] + " " + text[end:])
        explained = len(beside) <= 1 or reading.added or reading.kept_pairs >= _KEPT_PAIRS
        if start == 0 and explained and _ANSWERED.match(text, end):
            return label
        cued = {each for begin, _, each in found if _LABEL_CUE.search(text[:begin])}
        if len({each for _, _, each in found}) == 1:
            return label if cued or len(beside) <= 1 else None
        # Labels of the prompt that are joined by "is" are no answer, so several of them need other words beside them.
        return cued.pop() if len(cued) == 1 and reading.added else None


def _not_offered(found: list[tuple[int, int, str]], text: str) -> list[tuple[int, int, str]]:
    """Labels without those that the text merely lists to choose from, such as "price, service or quality"."""
    return [
        each
        for each in found
        if not any(
            other[2] != each[2] and _OFFER.fullmatch(text[min(each[1], other[1]) : max(each[0], other[0])])
            for other in found
        )
    ]


def _opens_sentence(text: str, start: int, end: int) -> bool:
    """Whether a label is a sentence of its own, or opens one as its heading."""
    return re.search(r"(?:^|[.!?\n])\W*$", text[:start]) is not None and re.match(r"\W*[.:\n]", text[end:]) is not None


def _named(labels: list[str], text: str) -> list[tuple[int, int, str]]:
    """Where the text names labels without "not" before them."""
    found = [
        (match.start(), match.end(), label)
        for label in labels
        for match in pattern_of(label).finditer(text)
        if not _NEGATED.search(text[: match.start()])
    ]
    # "entirely good" is not "good" as well.
    inner = [each for each in found if any(a <= each[0] and each[1] <= b and (a, b) != each[:2] for a, b, _ in found)]
    return sorted(each for each in found if each not in inner)


_KEPT_PAIRS = 2
_OFFER = re.compile(r"\W*(?:or|/|,)\W*(?:(?:a|an|the|or)\W+)?", re.I)
_OPENING = re.compile(rf"^(?:{LIST_MARK}|[\s\"'#>*-]|(?:a|an|the)\s)+", re.I)
_ANSWERED = re.compile(
    r"(?:\s\w+)?\W*(?:$|[.,:;!?()\n-])|\s(?:because|since|as|due|for|though|although|but|and not|rather|not|in)\b"
    r"|\s(?:is|would be) (?:the|my|a) (?:\w+ )?(?:answer|label|category|choice|queue|one|right|best|correct)\b",
    re.I,
)
"""What follows a label that is the answer: a pause, after one noun at most, or a reason."""
_NEGATED = re.compile(
    r"\b(?:not|nor|neither|isn't|aren't|wasn't|rather than|instead of|no|than|without)\W+"
    r"(?:(?:about|a|an|the|in|of|really|under|necessarily)\W+)*$",
    re.I,
)
_LABEL_CUE = re.compile(
    r"(?:\b(?:(?:is|are|was|were|be|it's|complain\w*|unhappy|happy|concerned|mainly|mostly|all|review|headline|"
    r"remark) about|is|are|was|were|'s|it's|be|as|answer|category|label|tag|under|into|in|fits?|to|it|queue|say|call|"
    r"choose|pick|uses?|sounds?|seems?|looks?|feels?|shows?|express\w*|describ\w*|conveys?|has|concerns?|falls?|"
    r"belongs?|"
    r"goes|contains|mainly|makes?)\b|[:=>])"
    r"\W*(?:(?:a|an|the|more|clearly|rather|very|mostly|mainly|certainly|definitely|purely|simply|botanically|"
    r"just|actually|"
    r"really|both|entirely|overall|of|kind|type|form|example|\w+ly)\W+){0,3}$",
    re.I,
)


class Pairs(BaseModel):
    """Each key is given with its values and no other key's: in the same line or clause, and nearer than other keys.

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
            bool(given[key] & every) if self.wrong_allowed else set(values) == given[key]
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
    return next(iter([*own, *before[-1:], *after[:1]]), heading)
