"""Every type of check, and the two that join others."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from response_tuning.evaluation.checks.act_checks import Advice, Compares, Dialogue, FirstPerson, Reason
from response_tuning.evaluation.checks.answer_checks import Label, Number, Pairs
from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.code_checks import Code
from response_tuning.evaluation.checks.form_checks import (
    Email,
    Instruction,
    Items,
    Json,
    Language,
    Lines,
    Sentences,
    Words,
)
from response_tuning.evaluation.checks.word_checks import (
    Adds,
    Contains,
    Draws,
    KnownNumbers,
    Lacks,
    Matches,
    Name,
    QuoteFree,
    Shorter,
    Starts,
)

__all__ = ["AllOf", "AnyCheck", "AnyOf", "all_hold"]


class AnyOf(BaseModel):
    """At least one of the checks holds."""

    model_config = STRICT
    type: Literal["any_of"]
    checks: list["AnyCheck"] = Field(min_length=1)

    def holds(self, reading: Reading) -> bool | None:
        """Whether one holds; None if that depends on code that may not run."""
        verdicts = [check.holds(reading) for check in self.checks]
        return True if any(verdicts) else (None if None in verdicts else False)


class AllOf(BaseModel):
    """All of the checks hold; for use in ``any_of``."""

    model_config = STRICT
    type: Literal["all_of"]
    checks: list["AnyCheck"] = Field(min_length=1)

    def holds(self, reading: Reading) -> bool | None:
        """Whether all hold; None if that depends on code that may not run."""
        return all_hold(check.holds(reading) for check in self.checks)


AnyCheck = Annotated[
    Adds
    | Advice
    | AllOf
    | AnyOf
    | Code
    | Compares
    | Contains
    | Dialogue
    | Draws
    | Email
    | FirstPerson
    | Instruction
    | Items
    | Json
    | KnownNumbers
    | Label
    | Lacks
    | Language
    | Lines
    | Matches
    | Name
    | Number
    | Pairs
    | QuoteFree
    | Reason
    | Sentences
    | Shorter
    | Starts
    | Words,
    Field(discriminator="type"),
]
"""One line per type, chosen by the field ``type``."""


def all_hold(verdicts: Iterable[bool | None]) -> bool | None:
    """False if one is False, else None if one is None, else True."""
    known = list(verdicts)
    return False if False in known else (None if None in known else True)


AnyOf.model_rebuild()
AllOf.model_rebuild()
