"""The checks of a row, and the verdict on a response: does it follow its instruction, and is it correct?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.check_registry import AnyCheck, all_hold
from response_tuning.evaluation.checks.guards import failed_guards
from response_tuning.evaluation.shared.text_measures import loops
from response_tuning.support.records import preview

__all__ = ["RowChecks", "Verdict", "read_checks"]


class RowChecks(BaseModel):
    """The field ``checks`` of a row: what a response has to show, beyond the guards that hold for every row."""

    model_config = STRICT
    follows: list[AnyCheck]
    """All have to hold for a response to do what was asked, right or wrong."""
    correct: list[AnyCheck]
    """All have to hold as well for it to be right."""

    def judge(self, prompt: str, response: str, *, stopped: bool = True, run_code: bool = False) -> "Verdict":
        """Whether the response follows its prompt, and is correct.

        Args:
            prompt: the instruction.
            response: the text to judge.
            stopped: whether it ended by itself; one that was cut off is not correct.
            run_code: whether its code may run (``run_code``).
        """
        # Tests belong to "correct": in "follows" no code runs, and only its shape counts.
        reading = Reading(prompt, response, stopped=stopped)
        guards = failed_guards(reading)
        if guards:
            return Verdict(False, False, guards)
        follows = {_label("follows", place, check): check.holds(reading) for place, check in enumerate(self.follows)}
        failed = [name for name, verdict in follows.items() if verdict is False]
        if failed:
            return Verdict(False, False, failed)
        reading = Reading(prompt, response, run_code=run_code, stopped=stopped)
        correct = {_label("correct", place, check): check.holds(reading) for place, check in enumerate(self.correct)}
        correct |= {"stops": stopped, "repeats itself": not loops(response)}
        failed = [name for name, verdict in correct.items() if verdict is False]
        return Verdict(True, all_hold(correct.values()), failed)


@dataclass(frozen=True)
class Verdict:
    """The verdict of checks on one response."""

    follows: bool
    correct: bool | None
    """None where only running its code could tell."""
    failed: list[str]
    """The guards or checks that the response failed, such as ``follows[1] contains``."""


def read_checks(value: object) -> RowChecks:
    """The checks of a row, from the value of its field ``checks``.

    Raises:
        ValueError: it has another form; the message names the field, what is wrong with it, and its value.
    """
    try:
        return RowChecks.model_validate(value)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(dict(detail)) for detail in error.errors()[:3])) from None


def _label(level: str, place: int, check: AnyCheck) -> str:
    return f"{level}[{place}] {check.type}"


def _explain(detail: dict[str, Any]) -> str:
    field = _field(["checks", *detail["loc"]])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"field '{field}' is missing"
    if detail["type"] == "union_tag_invalid":
        return f"field '{field}.type' is {detail['ctx']['tag']!r}, and should be one of {', '.join(sorted(_TYPES))}"
    if detail["type"] == "union_tag_not_found":
        return f"field '{field}.type' is missing"
    if detail["type"] == "extra_forbidden":
        return f"field '{field}' is unknown"
    return f"field '{field}': {message[0].lower()}{message[1:]} (it is {preview(detail['input'])})"


def _field(location: Sequence[str | int]) -> str:
    """``checks.follows[1].any`` from pydantic's location, without the names of types that it inserts."""
    path = ""
    for place, part in enumerate(location):
        after_index = place > 0 and isinstance(location[place - 1], int)
        if isinstance(part, int):
            path += f"[{part}]"
        elif not (after_index and isinstance(part, str) and place < len(location) - 1 and part in _TYPES):
            path += f".{part}" if path else str(part)
    return path


_TYPES = frozenset(get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(get_args(AnyCheck)[0]))
