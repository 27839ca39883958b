"""What raters are asked: levels of acceptability for each response, and which of two is preferred.

A protocol is a YAML file, or one of ``PROTOCOLS``. The criteria are our own words for those of the papers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from response_tuning.people.sample_screens import ATTENTION_CHECKS, TRAINING, SampleScreen
from response_tuning.support.configuration import parse_yaml
from response_tuning.support.errors import UserError
from response_tuning.support.records import preview

__all__ = ["PROTOCOLS", "Choice", "Level", "Protocol", "read_protocol"]


class Level(BaseModel):
    """A level of acceptability."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """What the button says."""
    criterion: str
    """When it applies, in a sentence."""
    acceptable: bool
    """Whether a response of this level counts as acceptable."""


class Choice(BaseModel):
    """A preference between the two responses of a screen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    """What the button says."""
    left: float = Field(ge=0, le=1)
    """What the left response wins: 1, 0.5 for a tie, or 0."""


class Protocol(BaseModel):
    """What one screen asks. A screen shows two responses where there is a ``preference``, and one otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    instructions: str
    """What a rater reads before the first screen; paragraphs are separated by blank lines."""
    levels: tuple[Level, ...] = Field(min_length=2, max_length=5)
    """From the best to the worst."""
    question: str = "Which response is more helpful?"
    preference: tuple[Choice, ...] = Field(default=(), max_length=5)
    training: tuple[SampleScreen, ...] = ()
    """Screens of the training round (``--training``), each with an explanation that follows the vote."""
    attention_checks: tuple[SampleScreen, ...] = ()
    """Screens whose answer is obvious to whoever reads them (``--attention-checks``)."""

    @model_validator(mode="after")
    def _is_complete(self) -> "Protocol":
        for names in ([level.name for level in self.levels], [choice.name for choice in self.preference]):
            if len(set(names)) < len(names):
                raise ValueError("two levels or two preferences have the same name")
        if {level.acceptable for level in self.levels} != {True, False}:
            raise ValueError("needs a level that is acceptable and one that is not")
        if self.preference and not {0.0, 1.0} <= {choice.left for choice in self.preference}:
            raise ValueError("a preference needs a choice for the left (left: 1) and one for the right (left: 0)")
        if any(sample.right is None for sample in (*self.training, *self.attention_checks)) and self.preference:
            raise ValueError("a sample screen needs a 'right' response, because a preference is asked")
        return self


_INTRODUCTION = (
    "You will see an instruction and the responses of two assistants. Their sides are drawn at random for every "
    "screen. Read the instruction, judge each response by itself, and then say which one you would rather have "
    "received.\n\nDo not search for who wrote them. Where you cannot check a fact, judge by what you know. You can "
    "flag a harmful or disturbing text, and need not read on."
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
                criterion="Useful as it is, though a minor requirement is missing or the style is plain.",
                acceptable=True,
            ),
            Level(
                name="Not acceptable",
                criterion="Off the topic, unclear, incomplete, or spoilt by faults of form such as repetition.",
                acceptable=False,
            ),
        ),
        preference=(
            Choice(name="Left", left=1),
            Choice(name="Tie", left=0.5),
            Choice(name="Right", left=0),
        ),
        training=TRAINING,
        attention_checks=ATTENTION_CHECKS,
    ),
    "tulu": Protocol(
        name="tulu",
        instructions=_INTRODUCTION,
        levels=(
            Level(name="Acceptable", criterion="Does what was asked, without serious faults.", acceptable=True),
            Level(name="Not acceptable", criterion="Does not do what was asked, or not usably.", acceptable=False),
        ),
        question="Which response is better?",
        preference=(
            Choice(name="Left, clearly", left=1),
            Choice(name="Left, slightly", left=1),
            Choice(name="Tie", left=0.5),
            Choice(name="Right, slightly", left=0),
            Choice(name="Right, clearly", left=0),
        ),
        training=TRAINING,
        attention_checks=ATTENTION_CHECKS,
    ),
}
"""By name: An, Kim & Kim 2024, section 4 (three levels, preference or tie), and Wang et al. 2023, Tulu, section 5.3
(acceptable or not, five points), which Hewitt et al. 2024 used as well."""


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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    try:
        return Protocol.model_validate(parse_yaml(path, text))
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {_explain(dict(each))}" for each in error.errors())) from None


def _explain(detail: dict[str, Any]) -> str:
    """What is wrong with one field of the file."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "missing":
        return f"field {place!r} is missing."
    if detail["type"] == "extra_forbidden":
        return f"there is no field {place!r}."
    return f"field {place!r}: {detail['msg']}: {preview(detail['input'])}"
