"""A language model as a judge: one question per case, and a verdict that is parsed strictly or not at all.

The verdict is the last line of the answer and must contain a nonce derived from the case, so that a response cannot
inject its own verdict: neither a response that dictates one nor a judge that quotes a response is taken for a verdict.
The lines that delimit a response contain the nonce too, so that a response cannot pretend to be over.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from jinja2 import StrictUndefined, Template

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import REFUSED_QUESTION, ask_once, failure_state, forecast
from response_tuning.asking.cost import Cost
from response_tuning.asking.verdict import find_verdict, verdict_code
from response_tuning.evaluation.shared.evaluation_options import JudgeOptions
from response_tuning.support.progress import warn

__all__ = ["Case", "Judgement", "JudgementState", "Parse", "find_verdict", "forecast_judging", "judge_cases"]

JudgementState = Literal["judged", "unparsed", "truncated", "refused by the server", "error after retries"]
"""unparsed: a whole answer without a verdict that can be read. truncated: the answer reached the token limit, and is
asked for again with a larger one. refused by the server: it would not take the question, or withheld the answer."""
Parse = Callable[[str], Any]
"""Parses what follows the nonce into a verdict; None where it is none."""

_IDENTITY = {"command": "judge"}
_ANSWER_CHARACTERS = 300
_KEY_CHARACTERS = 32


@dataclass(frozen=True)
class Case:
    """What a judge is shown: a request's template and the texts that fill it."""

    template: str
    """Its name: ``TEMPLATE.txt`` in ``package``."""
    texts: Mapping[str, str]
    package: str
    """The package whose folder holds the template, such as ``response_tuning.evaluation.refusals``."""
    request: str | None = None
    """A whole request instead of a template, as somebody else published it: ``parse`` gets the whole answer then."""
    system: str | None = None
    """The system message of such a request."""


@dataclass(frozen=True)
class Judgement:
    """A judge's answer on a case."""

    state: JudgementState
    verdict: Any
    """What ``parse`` returned; None unless the state is "judged"."""
    answer: str
    """The judge's whole answer, or the error."""


def judge_cases(
    cases: Sequence[Case], options: JudgeOptions, parse: Callable[[Case, str], Any], *, folder: Path
) -> list[Judgement]:
    """Judge all cases, equal ones once; earlier verdicts are read from the ledger.

    Args:
        cases: what to judge.
        options: who judges; ``judge`` must be set.
        parse: parses what follows the nonce of a case into a verdict; None where it is none.
        folder: where the ledger of this judge's answers is.

    Raises:
        UserError: the judge cannot be asked.
    """
    questions = [_question(case, options) for case in cases]
    case_of = {question.key: case for question, case in zip(questions, cases, strict=True)}

    def read(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        if isinstance(answer, Failure):
            return {"state": failure_state(answer), "verdict": None, "detail": answer.reason}
        if answer.ending != "finished":
            return {"state": "truncated" if answer.ending == "truncated" else REFUSED_QUESTION, "verdict": None}
        case = case_of[question.key]
        payload = find_verdict(answer.text, _code(case)) if case.request is None else answer.text
        verdict = None if payload is None else parse(case, payload)
        return {"state": "unparsed" if verdict is None else "judged", "verdict": verdict}

    rows = ask_once(questions, _ledger(folder, options), _IDENTITY, options.asking(), read)
    judgements = [_judgement(row) for row in rows]
    _advise(judgements, options)
    return judgements


def forecast_judging(cases: Sequence[Case], options: JudgeOptions, *, folder: Path) -> Cost:
    """The cost of judging those of ``cases`` that have no verdict yet. Asks nothing."""
    questions = [_question(case, options) for case in cases]
    return forecast(questions, _ledger(folder, options), _IDENTITY, options.asking())


def _code(case: Case) -> str:
    return verdict_code([case.template, *case.texts.values()])


def _judgement(row: Mapping[str, Any]) -> Judgement:
    return Judgement(row["state"], row["verdict"], row.get("answer", row.get("detail", "")))


def _question(case: Case, options: JudgeOptions) -> Question:
    text = case.request or _template(case.package, case.template).render(code=_code(case), **case.texts)
    return Question(
        # A hash of the whole text and not of the position: a reworded question is asked again, and a verdict stays
        # valid whichever other cases are judged with it.
        key=hashlib.sha256(((case.system or "") + text).encode()).hexdigest()[:_KEY_CHARACTERS],
        text=text,
        system=case.system,
        max_tokens=options.judge_max_tokens,
        expected_characters=_ANSWER_CHARACTERS,
    )


@cache
def _template(package: str, name: str) -> Template:
    text = (files(package) / f"{name}.txt").read_text(encoding="utf-8")
    template: Template = Template(text, undefined=StrictUndefined)
    return template


def _ledger(folder: Path, options: JudgeOptions) -> Path:
    """Each judge has its own ledger, so that asking another judge keeps the verdicts of the first."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", options.judge or "").strip("-")
    return folder / f"judge-{name}.jsonl"


def _advise(judgements: Sequence[Judgement], options: JudgeOptions) -> None:
    """Say which cases got no verdict, and how to ask about them again."""
    ways = {
        "truncated": f"the answers reached the limit of {options.judge_max_tokens} tokens; a larger one",
        "unparsed": "no verdict can be read in the answers; --retry-unparsed",
        "refused by the server": "the reasons are in the file of answers; --retry-errors",
        "error after retries": "the server failed; --retry-errors",
    }
    states = Counter(judgement.state for judgement in judgements)
    for state, way in ways.items():
        if states[state]:  # type: ignore[index]
            warn(
                f"{options.judge} gave no verdict on {states[state]:,} of {len(judgements):,} cases ({state}): "  # type: ignore[index]
                f"{way} asks about these again, alone."
            )
