"""What raters are asked: levels of acceptability for each response, and which of two is preferred.

A protocol is a YAML file, or one of ``PROTOCOLS``. The criteria are our own words for those of the papers.
"""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from response_tuning.support.configuration import explain
from response_tuning.support.errors import UserError

__all__ = ["PROTOCOLS", "Choice", "Level", "Protocol", "read_protocol"]


class Level(BaseModel):
    """A level of acceptability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What the button says."""
    criterion: str
    """When it applies, in a sentence."""
    acceptable: bool
    """Whether a response of this level counts as acceptable."""


class Choice(BaseModel):
    """A preference between the two responses of a screen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    """What the button says."""
    left: float = Field(ge=0, le=1)
    """What the left response wins: 1, 0.5 for a tie, or 0."""
    degree: int = Field(ge=-2, le=2)
    """How far, from 2 (left, clearly) to -2."""


class Protocol(BaseModel):
    """What one screen asks. A screen shows two responses where there is a ``preference``, and one otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    instructions: str
    """What a rater reads before the first screen; paragraphs are separated by blank lines."""
    levels: tuple[Level, ...] = Field(min_length=2, max_length=5)
    question: str = "Which response is more helpful?"
    preference: tuple[Choice, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "Protocol":
        for names in ([level.name for level in self.levels], [choice.name for choice in self.preference]):
            if len(set(names)) < len(names):
                raise ValueError("two levels or two preferences have the same name")
        if not {level.acceptable for level in self.levels} == {True, False}:
            raise ValueError("needs a level that is acceptable and one that is not")
        if self.preference and len(self.preference) < 2:
            raise ValueError("a preference needs two choices at least")
        return self


_INTRODUCTION = (
    "You will see an instruction and the responses of two assistants, in an order drawn anew for every screen. Read the "
    "instruction, then judge each response by itself, and then say which one you would rather have received."
    "\n\nDo not search for who wrote them. Where you cannot check a fact, judge by what you know. A harmful or "
    "disturbing text can be flagged; you need not read on."
)

PROTOCOLS: Mapping[str, Protocol] = {
    "an-kim": Protocol(
        name="an-kim",
        instructions=_INTRODUCTION,
        levels=(
            Level(
                name="Excellent", criterion="Does all that was asked, and the reader is well served.", acceptable=True
            ),
            Level(
                name="Sufficient",
                criterion="Useful as it stands, though a minor requirement is missing or the style is plain.",
                acceptable=True,
            ),
            Level(
                name="Not acceptable",
                criterion="Off the topic, unclear, incomplete, or spoilt by faults of form such as repetition.",
                acceptable=False,
            ),
        ),
        preference=(
            Choice(name="Left", left=1, degree=1),
            Choice(name="Tie", left=0.5, degree=0),
            Choice(name="Right", left=0, degree=-1),
        ),
    ),
    "tulu": Protocol(
        name="tulu",
        instructions=_INTRODUCTION,
        levels=(
            Level(name="Acceptable", criterion="Does what was asked, without serious faults.", acceptable=True),
            Level(name="Not acceptable", criterion="Does not do what was asked, or not usably.", acceptable=False),
        ),
        preference=(
            Choice(name="Left, clearly", left=1, degree=2),
            Choice(name="Left, slightly", left=1, degree=1),
            Choice(name="Tie", left=0.5, degree=0),
            Choice(name="Right, slightly", left=0, degree=-1),
            Choice(name="Right, clearly", left=0, degree=-2),
        ),
    ),
}
"""By name: An & Kim 2024, section 4 (three levels, preference or tie), and Wang et al. 2023, Tulu, section 5.3."""


def read_protocol(spec: str) -> Protocol:
    """A protocol by name, or from a YAML file with the fields of ``Protocol``.

    Raises:
        UserError: there is no such protocol, or the file is none.
    """
    if spec in PROTOCOLS:
        return PROTOCOLS[spec]
    path = Path(spec)
    if not path.is_file():
        raise UserError(f"There is no protocol {spec!r}. Choose {', '.join(PROTOCOLS)}, or name a YAML file.")
    try:
        return Protocol.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Protocol)}") from error
