"""Checks of a response's form: lists, lengths, emails, JSON, languages, and IFEval's instructions."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.text import LIST_MARK, Phrase, pattern_of, words

__all__ = ["Email", "Instruction", "Items", "Json", "Language", "Lines", "Sentences", "Words", "list_items"]


class _Range(BaseModel):
    """The bounds of a count."""

    model_config = STRICT
    at_least: int = Field(default=1, ge=0)
    at_most: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _can_hold(self) -> "_Range":
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most is {self.at_most}, below at_least, {self.at_least}")
        return self

    def _allows(self, count: int) -> bool:
        return self.at_least <= count and (self.at_most is None or count <= self.at_most)


class Items(_Range):
    """A list of a number of different items: lines with list marks, or an enumeration in a sentence."""

    type: Literal["items"]
    at_least: int = Field(default=2, ge=1)
    words_each: int | None = Field(default=None, ge=1)
    """The most words of an item that counts, such as a name."""

    def holds(self, reading: Reading) -> bool:
        """Whether the number of items is allowed."""
        items = list_items(reading.text)
        return self._allows(sum(self.words_each is None or len(item.split()) <= self.words_each for item in items))


def list_items(text: str) -> list[str]:
    """The different items of a text's longest list, in lower case.

    A list is made of lines that begin with a bullet, a number or a letter, of short lines one below the other, of
    sentences that begin with "first", "second" ..., or of parts of a sentence between commas, semicolons, "and" and
    "or".
    """
    lines = [line for line in text.split("\n") if re.search(r"\w", line)]
    marked = [re.sub(rf"^{LIST_MARK}", "", line) for line in lines if re.match(LIST_MARK, line)]
    bare = [line for line in lines if not line.rstrip().endswith(":") and len(line.split()) <= _SHORT_LINE]
    inline = re.findall(r"(?:^|\s)\(?\d{1,2}[.)] ([^\n]+?)(?=\s\(?\d{1,2}[.)] |$)", text)
    ordinal = re.findall(rf"(?:^|[.;:\n]\s*)(?:{_ORDINALS})\b,?\s*([^.;\n]+)", text, re.I)
    parts = max((_parts(sentence) for sentence in re.split(r"(?<=[.!?])\s|\n", text)), key=len, default=[])
    lists = [marked, inline, ordinal, parts, bare if len(bare) >= _BARE_LINES else []]
    # Numbers in an item's text do not make it another one.
    return max((_different(items) for items in lists), key=len)


_SHORT_LINE, _BARE_LINES = 12, 3
_ORDINALS = "first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly|after that"


def _parts(sentence: str) -> list[str]:
    """The parts of an enumeration, such as "a, b and c"; fewer than three are none."""
    parts = re.split(r"[,;]\s+(?:and |or )?", sentence)
    parts = [*parts[:-1], *re.split(r"\s(?:and|or)\s", parts[-1], maxsplit=1)]
    named = [part for part in parts if re.search(r"\w", part)]
    return named if len(named) >= _FEWEST_PARTS and len(parts) > 1 and re.search(r"[,;]\s", sentence) else []


_FEWEST_PARTS = 3


def _different(items: list[str]) -> list[str]:
    return list(dict.fromkeys(" ".join(re.findall(r"[^\W\d]+", item.lower())) for item in items))


class Words(_Range):
    """A number of words."""

    type: Literal["words"]

    def holds(self, reading: Reading) -> bool:
        """Whether the number of words is allowed."""
        return self._allows(len(reading.text.split()))


class Sentences(_Range):
    """A number of sentences; a line without a full stop is one, too."""

    type: Literal["sentences"]

    def holds(self, reading: Reading) -> bool:
        """Whether the number of sentences is allowed."""
        return self._allows(len(reading.sentences))


class Lines(_Range):
    """A number of lines that are not empty."""

    type: Literal["lines"]

    def holds(self, reading: Reading) -> bool:
        """Whether the number of lines is allowed."""
        return self._allows(sum(bool(line.strip()) for line in reading.text.split("\n")))


class Email(BaseModel):
    """A letter in the writer's voice: a greeting, a closing or a subject, and at least two of these with the voice."""

    model_config = STRICT
    type: Literal["email"]
    to: Phrase | None = None
    from_: Phrase | None = Field(default=None, alias="from")

    def holds(self, reading: Reading) -> bool:
        """Whether it is a letter, to and from the right people."""
        text = reading.text.strip().strip('"')
        has = [_GREETING.search(text), _CLOSING.search(text) or self._is_signed(text), _SUBJECT.search(text)]
        named = all(phrase is None or pattern_of(phrase).search(text) for phrase in (self.to, self.from_))
        return named and _VOICE.search(text) is not None and any(has) and len(words(text)) >= _EMAIL_WORDS

    def _is_signed(self, text: str) -> bool:
        end = "|".join(_END_NAME.findall(text))
        return bool(self.from_ and pattern_of(self.from_).search(end))


_EMAIL_WORDS = 8
_GREETING = re.compile(
    r"^(?:subject:[^\n]*\n+)?\W*(?:dear|hi|hello|hey|good (?:morning|afternoon|evening|day)|to whom|greetings|to the|"
    r"[A-Z]\w+(?: [A-Z]\w+){0,2},(?=\s*\n|\s+(?:I|we|my|thank|congrat)))",
    re.I,
)
_CLOSING = re.compile(
    r"\b(?:regards|sincerely|faithfully|cheers|love|best(?: wishes)?|(?:many )?thanks|thank you|yours(?: truly)?|"
    r"warmly|see you)\b[ ,.!]*(?:\n|$|[A-Z]\w+(?: [A-Z]\w+)?\W*$)",
    re.I,
)
_SUBJECT = re.compile(r"^\W*subject:", re.I | re.M)
_VOICE = re.compile(r"\b(?:I|I'm|I'd|I've|my|we|our|you|your|please|us|me)\b", re.I)
_END_NAME = re.compile(r"(?:\n|[.!?]\s)\W*([^\n.!?]{2,40})\W*$")


class Json(BaseModel):
    """Some JSON value that parses, fenced or bare, with these keys; of a list, every object has them."""

    model_config = STRICT
    type: Literal["json"]
    keys: list[str] = []

    def holds(self, reading: Reading) -> bool:
        """Whether there is such a value."""
        return any(self._has_keys(value) for value in _json_values(reading.response))

    def _has_keys(self, value: Any) -> bool:
        objects = value if isinstance(value, list) else [value]
        return bool(objects) and all(isinstance(each, dict) and set(self.keys) <= set(each) for each in objects)


def _json_values(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    for found in re.finditer(r"[\[{]", text):
        try:
            yield decoder.raw_decode(text, found.start())[0]
        except (ValueError, RecursionError):
            continue


class Language(BaseModel):
    """Most of the words that tell languages apart are of this one; rough, by frequent words."""

    model_config = STRICT
    type: Literal["language"]
    is_: Literal["en", "de", "fr", "es", "it", "pt", "nl"] = Field(alias="is")

    def holds(self, reading: Reading) -> bool:
        """Whether this language has the most frequent words in the response."""
        own = words(reading.text)
        counts = {name: sum(word in frequent for word in own) for name, frequent in _FREQUENT.items()}
        return counts[self.is_] > 0 and counts[self.is_] == max(counts.values())


_FREQUENT = {
    name: frozenset(text.split())
    for name, text in {
        "en": "the of and to in is it you that was for on are with as his they at be this have from or my good thank",
        "de": "der die das und ist nicht ein eine zu den mit von für auf im sich es ich wir sie danke guten sehr wo",
        "fr": "le la les et est un une des du de à pour que qui dans ne pas vous je nous il elle merci bonjour où très",
        "es": "el la los las y es un una de del que en no por para con se su yo usted gracias buenos dónde está muy",
        "it": "il lo la gli le e è un una di del che in non per con si mi sono grazie buon dove molto questo",
        "pt": "o a os as e é um uma de do da que em não por para com se eu obrigado bom onde muito está",
        "nl": "de het een en is van dat niet te op zijn voor met ik je we dank goede waar zeer deze",
    }.items()
}


class Instruction(BaseModel):  # type: ignore[no-redef]  # pydantic's plugin takes the alias for **kwargs
    """One of IFEval's instructions, by the harness's checker (strict). Needs the extra ``core``."""

    model_config = STRICT
    type: Literal["instruction"]
    id: str = Field(pattern=r"^\w+:\w+$")
    parameters: dict[str, Any] = Field(default_factory=dict, alias="kwargs")

    def holds(self, reading: Reading) -> bool:
        """Whether the instruction is followed.

        Raises:
            UserError: the extra is not installed, or the instruction needs data that is missing.
        """
        from response_tuning.evaluation.ifeval.ifeval import IfevalPrompt, check_responses
        from response_tuning.inference.generate import Response
        from response_tuning.support.extras import require_extra

        require_extra("lm_eval", "core", purpose="a check of type 'instruction'")
        prompt = IfevalPrompt(0, reading.prompt, [self.id], [dict(self.parameters)])
        result = check_responses([prompt], [Response(reading.response, 0, stopped=True)])
        return bool(result.rows[0]["strict"][0])
