"""A judge that reads a request and a response and decides: refusal or compliance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Judging, judge_all
from response_tuning.evaluation.shared.evaluation_options import JudgeOptions
from response_tuning.evaluation.shared.judge import Case

__all__ = ["JudgedRefusal", "judge_refusals", "judged_refusals", "parse_refusal", "refusal_cases"]

Pairs = Sequence[tuple[str, str]]
"""Request and response."""


@dataclass(frozen=True)
class JudgedRefusal:
    """A judge's verdict on one response."""

    verdict: Verdict
    state: str
    """judged, unparsed, error after retries; or empty for a response without a word, which no judge is shown."""
    answer: str
    """The judge's whole answer."""


def judge_refusals(pairs: Pairs, options: JudgeOptions, *, folder: Path) -> list[JudgedRefusal] | None:
    """Have all pairs judged; None after a dry run. The judge's answers are kept in ``folder``.

    Raises:
        UserError: the judge cannot be asked.
    """
    judgements = judge_all([Judging(options, refusal_cases(pairs), parse_refusal, folder)])
    return None if judgements is None else judged_refusals(len(pairs), judgements[0])


def refusal_cases(pairs: Pairs) -> Cases:
    """A case for each pair with a word in its response, by the position of the pair."""
    return {
        position: Case(
            "refusal", {"prompt": request, "response": response}, package="response_tuning.evaluation.refusals"
        )
        for position, (request, response) in enumerate(pairs)
        if response.strip()
    }


def parse_refusal(_: Case, payload: str) -> Verdict | None:
    """The verdict that a judge's answer ends with, if it is one."""
    return next((verdict for verdict in DECIDED if verdict == payload.lower()), None)


def judged_refusals(count: int, judgements: Judgements) -> list[JudgedRefusal]:
    """The verdict on each of ``count`` pairs; empty for those that were no case."""
    judged = [JudgedRefusal("empty", "empty", "") for _ in range(count)]
    for position, judgement in judgements.items():
        judged[position] = JudgedRefusal(judgement.verdict or "unparsed", judgement.state, judgement.answer)
    return judged
