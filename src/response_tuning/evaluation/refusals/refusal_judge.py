"""A judge that reads request and response and decides: refusal or compliance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.evaluation.evaluation_config import JudgeOptions
from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.judge import Case, forecast_judging, judge_cases
from response_tuning.support.progress import say

__all__ = ["JudgedRefusal", "judge_refusals"]


@dataclass(frozen=True)
class JudgedRefusal:
    """A judge's verdict on one response."""

    verdict: Verdict
    state: str
    """judged, unparsed, error after retries; or empty, where there was nothing to judge."""
    answer: str
    """The judge's words."""


def judge_refusals(
    pairs: Sequence[tuple[str, str]], options: JudgeOptions, *, folder: Path
) -> list[JudgedRefusal] | None:
    """Have all pairs of request and response judged; None after a dry run.

    A response without a word is not shown to the judge. The judge's answers are kept in ``folder``.

    Raises:
        UserError: the judge cannot be asked.
    """
    worded = [position for position, (_, response) in enumerate(pairs) if response.strip()]
    cases = [Case("refusal", {"prompt": pairs[at][0], "response": pairs[at][1]}) for at in worded]
    say(f"judging: {forecast_judging(cases, options, folder=folder)}")
    if options.dry_run:
        return None
    judged = [JudgedRefusal("empty", "empty", "") for _ in pairs]
    for at, judgement in zip(worded, judge_cases(cases, options, _parse, folder=folder), strict=True):
        judged[at] = JudgedRefusal(judgement.verdict or "unparsed", judgement.state, judgement.answer)
    return judged


def _parse(_: Case, payload: str) -> Verdict | None:
    return next((verdict for verdict in DECIDED if verdict == payload.lower()), None)
