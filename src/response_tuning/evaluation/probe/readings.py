"""What the probe reads in responses: the checks of their rows, and measures that need no checks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from response_tuning.evaluation.checks.checked_rows import CheckedExamples
from response_tuning.evaluation.checks.row_checks import RowChecks
from response_tuning.evaluation.shared.response_verdicts import response_verdicts
from response_tuning.inference.generate import Response
from response_tuning.support.progress import progress_bar

__all__ = ["CUT", "MEASURES", "read_responses"]

MEASURES = ("follows", "correct", "responds", "stops", "loops", "copies", "on_topic")
"""In the order of tables. A row has ``follows`` and ``correct`` if it has checks, and ``responds`` if it has a
reference."""
CUT = "_cut"
"""The ending of a measure of responses that were cut at an invented turn."""


def read_responses(
    asked: CheckedExamples,
    responses: Sequence[Response],
    *,
    run_code: bool = False,
    cut: Callable[[Response], Response] | None = None,
) -> list[dict[str, Any]]:
    """A row per response: prompt, completion (the reference), response, verdicts, ``failed`` and ``values``.

    Args:
        asked: what was asked, with references and checks.
        responses: one per example.
        run_code: whether code in responses may run, so that checks with tests can decide.
        cut: makes a second response of each, which is measured as well, under names that end in ``_cut``.
    """
    rows = _read(asked, responses, run_code)
    if cut is None:
        return rows
    shorter = [cut(response) for response in responses]
    for row, short, reading in zip(rows, shorter, _read(asked, shorter, run_code), strict=True):
        row["response_cut"] = short.text
        row["failed_cut"] = reading["failed"]
        row["values"] |= {f"{name}{CUT}": value for name, value in reading["values"].items()}
    return rows


def _read(asked: CheckedExamples, responses: Sequence[Response], run_code: bool) -> list[dict[str, Any]]:
    references = [example.completion for example in asked.examples]
    verdicts = response_verdicts(asked.prompts, responses, references)
    rows = []
    with progress_bar("checking", len(responses)) as bar:
        for example, checks, response, (rank, measured) in zip(
            asked.examples, asked.checks, responses, verdicts, strict=True
        ):
            by_checks, failed = _checked(checks, example.prompt or "", response, run_code)
            verdict = by_checks | measured
            rows.append(
                {
                    "prompt": example.prompt,
                    "completion": example.completion,
                    "response": response.text,
                    "token_count": response.token_count,
                    "instruction_rank": rank,
                    **verdict,
                    "failed": failed,
                    "values": _values(verdict),
                }
            )
            bar.advance()
    return rows


def _values(verdict: Mapping[str, bool | None]) -> dict[str, float]:
    decided = {name: verdict.get(name) for name in MEASURES}
    return {name: float(value) for name, value in decided.items() if value is not None}


def _checked(
    checks: RowChecks | None, prompt: str, response: Response, run_code: bool
) -> tuple[dict[str, bool | None], list[str]]:
    """The verdict of a row's checks, if it has any, and which of them failed."""
    if checks is None:
        return {}, []
    verdict = checks.judge(prompt, response.text, stopped=response.stopped, run_code=run_code)
    return {"follows": verdict.follows, "correct": verdict.correct}, verdict.failed
