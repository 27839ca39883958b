"""Checks of what a response does: it gives a reason, advises, compares, speaks in a role, lets others speak."""

import re
from typing import Literal

from pydantic import BaseModel, Field

from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.text import LIST_MARK, Phrase, Phrases, pattern_of

__all__ = ["Advice", "Compares", "Dialogue", "FirstPerson", "Reason"]


class Reason(BaseModel):
    """The response gives a reason or a mechanism."""

    model_config = STRICT
    type: Literal["reason"]

    def holds(self, reading: Reading) -> bool:
        """Whether a causal word occurs."""
        return _CAUSE.search(reading.text) is not None


_CAUSE = re.compile(
    r"\b(?:because|since|therefore|hence|thus|due to|owing to|thanks to|in order to|so that|so (?:it|they|the|"
    r"you|we|as|that|she|he)\b|as a result|"
    r"reasons?|caus\w+|mak(?:e|es|ing)|made (?:by|of|from|it|them|up)|keep\w*|kept|help\w*|allow\w*|let(?:s|"
    r"ting)?|lead\w*|led|"
    r"prevent\w*|protect\w*|stop\w*|turn\w*|becom\w+|produc\w+|creat\w+|form(?:s|ed|ing)?|result\w*|mean(?:s|"
    r"ing)|enabl\w+|need\w*|"
    r"by \w+ing|(?:is|are|was|were|it|they) (?:\w+ )?(?:by|to)|when|if|as (?:the|it|they|there)|to (?:avoid|save|"
    r"survive|escape|find|get|stay|conserve|reduce|increase|remove))\b",
    re.I,
)


class Advice(BaseModel):
    """At least ``at_least`` sentences, clauses or list items tell the reader what to do."""

    model_config = STRICT
    type: Literal["advice"]
    at_least: int = Field(default=1, ge=1)

    def holds(self, reading: Reading) -> bool:
        """Whether enough of them do."""
        parts = re.split(r"(?<=[.!?;:,])\s+|\n+|\s+(?:and|then|or|but)\s+", reading.text)
        return len({part.lower() for part in parts if _advises(part)}) >= self.at_least


def _advises(part: str) -> bool:
    opening = re.sub(rf"^(?:{LIST_MARK}|[\s\"'#>*-]|{_BEFORE_IMPERATIVE}[,:]?\s)+", "", part, flags=re.I)
    first = re.match(r"[a-z']+", opening, re.I)
    return _ADVICE.search(part) is not None or (first is not None and first[0].lower() in _IMPERATIVES)


_BEFORE_IMPERATIVE = (
    r"(?:please|first(?:ly)?|second(?:ly)?|third(?:ly)?|next|then|finally|lastly|afterwards|always|also|just|simply|"
    r"instead|and|or|so|to start|to begin|in the \w+|on \w+day(?: \w+)?|week \w+|day \w+|step \w+|\w+day)"
)
_ADVICE = re.compile(
    r"\b(?:you|one|we|people|they)(?:'d| would)? (?:should|could|can|may|might|must|need to|ought to|have to|"
    r"had better|better|want to)(?!'t)\b|"
    r"\b(?:should|must|ought to|needs to) (?:not )?[a-z]+\b|"
    r"\b(?:it(?:'s| is| would be)|that is) (?:best|better|wise|important|essential|helpful|worth|a good idea|"
    r"useful|sensible)\b|"
    r"\b(?:i|i'd|we) (?:would )?(?:suggest|recommend|advise)\b|\bhow about\b|\bwhy not\b|\b(?:never|don't|"
    r"do not) [a-z]+\b|"
    r"\b(?:the best (?:way|thing|time|place|habit)|a good (?:way|idea))\b",
    re.I,
)
_VERBS = """
accept acknowledge act add admit adopt agree aim allow announce answer apologise apply arrange arrive ask assign
attend avoid bake balance be begin bend blend block boil book borrow break breathe bring brush build buy calculate
call calm carry catch celebrate change charge chat check choose clean clear climb close collect combine compare
compost confirm consider contact continue control cook cool count cover create cut decide decorate defrost deliver
describe dig discuss display dispose divide do donate double draft drain draw dress drink drive drop dry eat encourage
end enjoy enter examine exercise explain explore fill find finish fit fix focus fold follow forget freeze fry gather
get give glue go greet grill grow guide hand hang have heat help hide hire hold host identify ignore imagine improve
include inform insert insist inspect install introduce invest invite iron join jot keep knead know label lay learn
leave lend let lift light limit line list listen lock log look lower mail maintain make manage map mark mash measure
meet mention mix move name negotiate note notice offer open order organise organize pack paint park pass pause pay
peel perform phone pick pin place plan plant plate play plug point pour practise practice praise prepare press print
prioritise promise promote protect prune put quit raise reach read recharge recycle reduce refrigerate reheat relax
remember remind remove rent repair repeat replace reply report request reserve resist respect respond rest return
reuse revise reward rinse roll rotate rub run save say scan schedule scrape seal search seat see sell send separate
serve set share shop show shut sign simmer sit skip sleep slice slow smile soak sort speak spend split spray spread
sprinkle squeeze stack stand start state stay step stick stir stop store stretch strip study suggest supply support
surround swap sweep switch take talk taste teach tell tend test thank think throw tidy tie treat trim trust try turn
unplug update use vacuum vary visit wait wake walk warm warn wash watch water wear weed weigh welcome whisk wipe work
wrap write ensure
"""
_IMPERATIVES = frozenset(_VERBS.split())
"""Verbs with which instructions often begin."""


class Compares(BaseModel):
    """The response says something about each of two things, and sets them against each other."""

    model_config = STRICT
    type: Literal["compares"]
    first: Phrase
    second: Phrase

    def holds(self, reading: Reading) -> bool:
        """Whether both are named, with a word of contrast, or each as the subject of a sentence, line or clause."""
        both = [pattern_of(phrase) for phrase in (self.first, self.second)]
        if not all(pattern.search(reading.text) for pattern in both):
            return False
        clauses = re.split(r"[,;.:!?\n]\s+", reading.text)
        return _CONTRAST.search(reading.text) is not None or all(
            any(_is_subject(pattern, clause) for clause in clauses) for pattern in both
        )


def _is_subject(pattern: re.Pattern[str], clause: str) -> bool:
    """Whether the clause begins with the thing, after at most two words, and says something about it."""
    found = pattern.search(clause)
    return found is not None and len(clause[: found.start()].split()) <= _BEFORE_SUBJECT and bool(clause[found.end() :])


_BEFORE_SUBJECT = 2
_CONTRAST = re.compile(
    r"\b(?:while|whilst|whereas|but|than|unlike|differ\w*|both|however|in contrast|on the other hand|instead|"
    r"similar\w*|latter|former|opposite)\b",
    re.I,
)


class FirstPerson(BaseModel):
    """The response speaks as "I" or "we" and does not open like an encyclopedia."""

    model_config = STRICT
    type: Literal["first_person"]

    def holds(self, reading: Reading) -> bool:
        """Whether it does."""
        return _FIRST_PERSON.search(reading.text) is not None and not _DEFINES.match(reading.text.strip())


_FIRST_PERSON = re.compile(r"\b(?:I|I'm|I've|I'd|I'll|me|my|mine|myself|we|we're|we've|we'll|us|our|ours)\b(?!\.\w)")
_DEFINES = re.compile(r"^\W*(?:a|an|the) [\w' -]{1,40} (?:is|are|was|were) (?:a|an|the|used|made|often)\b", re.I)


class Dialogue(BaseModel):
    """At least two utterances, in quotation marks or after a speaker's name; each of ``speakers`` is named."""

    model_config = STRICT
    type: Literal["dialogue"]
    speakers: Phrases | None = None

    def holds(self, reading: Reading) -> bool:
        """Whether they are there."""
        quoted = re.findall(r'"[^"\n]+["\n]', reading.text)
        lines = re.findall(r"^\W*[A-Z][\w ]{0,20}:\s*\S", reading.text, re.M)
        named = all(pattern_of(speaker).search(reading.text) for speaker in self.speakers or [])
        return named and max(len(quoted), len(lines)) >= 2
