"""A language model as a judge: one question for each case, and a verdict that is read strictly or not at all.

A verdict is one line, the last of the answer, that carries a code. The code is made of the case itself, so a response
cannot know it: neither a response that tells the judge what to say nor a judge that quotes one is taken for a verdict.
The lines that fence a response in carry the code, too: a response cannot pretend to be over.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from jinja2 import StrictUndefined, Template

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ERROR, ask_once, forecast
from response_tuning.asking.cost import Cost
from response_tuning.evaluation.evaluation_config import JudgeOptions

__all__ = ["Case", "Judgement", "JudgementState", "Parse", "find_verdict", "forecast_judging", "judge_cases"]

JudgementState = Literal["judged", "unparsed", "error after retries"]
Parse = Callable[[str], Any]
"""Makes a verdict of what stands behind the code; None where it is none."""

_ANSWER_CHARACTERS = 300
_KEY_CHARACTERS = 32
_FOLDERS = {
    "just_regular": "just",
    "just_safety": "just",
    "preference": "alpaca",
    "rating": "selective",
    "rating_with_reference": "selective",
    "refusal": "refusals",
}


@dataclass(frozen=True)
class Case:
    """What a judge is shown: the name of the request's template, and the texts that fill it."""

    template: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Judgement:
    """What a judge made of a case."""

    state: JudgementState
    verdict: Any
    """What ``parse`` made of it; None unless the state is "judged"."""
    answer: str
    """The judge's words, or the error."""


def judge_cases(
    cases: Sequence[Case], options: JudgeOptions, parse: Callable[[Case, str], Any], *, folder: Path
) -> list[Judgement]:
    """Judge all cases, equal ones once; those that were judged before are read.

    Args:
        cases: what to judge.
        options: who judges; ``judge`` must be set.
        parse: makes a verdict of a case and what stands behind the code; None where it is none.
        folder: where the record of this judge's answers stands.

    Raises:
        UserError: the judge cannot be asked.
    """
    questions = [_question(case, options) for case in cases]
    case_of = {question.key: case for question, case in zip(questions, cases, strict=True)}

    def read(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        if isinstance(answer, Failure):
            return {"state": ERROR, "verdict": None, "detail": answer.reason}
        payload = find_verdict(answer.text, _code(case_of[question.key])) if answer.ending == "finished" else None
        verdict = None if payload is None else parse(case_of[question.key], payload)
        return {"state": "unparsed" if verdict is None else "judged", "verdict": verdict}

    different = _different(questions)
    rows = ask_once(different, _ledger(folder, options), _identity(options), options.asking(), read)
    row_of = {question.key: row for question, row in zip(different, rows, strict=True)}
    return [_judgement(row_of[question.key]) for question in questions]


def forecast_judging(cases: Sequence[Case], options: JudgeOptions, *, folder: Path) -> Cost:
    """What judging those of ``cases`` that have no verdict yet will take. Asks nothing."""
    questions = _different([_question(case, options) for case in cases])
    return forecast(questions, _ledger(folder, options), _identity(options), options.asking())


def find_verdict(answer: str, code: str) -> str | None:
    """What stands behind the code in the last line of an answer; None unless exactly one line has the code."""
    lines = [line.strip() for line in answer.strip().splitlines()]
    pattern = re.compile(rf"[*_`#\s]*VERDICT\s+{re.escape(code)}\s*:\s*(.+?)[*_`.\s]*", re.IGNORECASE)
    matches = [pattern.fullmatch(line) for line in lines]
    verdicts = [match for match in matches if match is not None]
    if len(verdicts) != 1 or matches[-1] is None:
        return None
    return verdicts[0].group(1).strip("*_` ")


def _code(case: Case) -> str:
    text = "\0".join([case.template, *case.texts.values()])
    return hashlib.sha256(text.encode()).hexdigest()[:4].upper()


def _judgement(row: Mapping[str, Any]) -> Judgement:
    return Judgement(row["state"], row["verdict"], row.get("answer", row.get("detail", "")))


def _question(case: Case, options: JudgeOptions) -> Question:
    text = _template(case.template).render(code=_code(case), **case.texts)
    return Question(
        # Of the whole text and of no place: what is asked in other words is asked anew, and a case that is judged
        # stays so whichever other ones are judged beside it.
        key=hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS],
        text=text,
        max_tokens=options.judge_max_tokens,
        expected_characters=_ANSWER_CHARACTERS,
    )


def _different(questions: Sequence[Question]) -> list[Question]:
    return list({question.key: question for question in questions}.values())


@cache
def _template(name: str) -> Template:
    text = (files(f"response_tuning.evaluation.{_FOLDERS[name]}") / f"{name}.txt").read_text(encoding="utf-8")
    template: Template = Template(text, undefined=StrictUndefined)
    return template


def _ledger(folder: Path, options: JudgeOptions) -> Path:
    """Each judge has its own, so that another one is asked without losing the first one's verdicts."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", options.judge or "").strip("-")
    return folder / f"judge-{name}.jsonl"


def _identity(options: JudgeOptions) -> dict[str, Any]:
    return {
        "command": "judge",
        "model": options.judge,
        "base_url": options.judge_base_url,
        "max_tokens": options.judge_max_tokens,
    }
