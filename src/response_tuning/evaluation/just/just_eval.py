"""JustEval: a judge rates responses from 1 to 5 on several aspects in one call (Lin et al. 2023, arXiv 2312.01552).

Responses to 800 regular prompts are rated on helpfulness, clarity, factuality, depth and engagement, those to 200
unsafe prompts on safety. An & Kim 2025 report ``overall``, the mean of the first five.

A difference from just_eval, the authors' program: it scores an aspect that the judge calls "N/A" with 5.0. Here a
rating that is not a number from 1 to 5 makes the whole answer unparsed, so that its other aspects do not count either.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.just.just_config import ASPECTS, OVERALL, SCALE, JustConfig
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Role, evaluate_judged
from response_tuning.evaluation.shared.judge import Case
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow

__all__ = ["JustResult", "evaluate_just"]

_PUBLISHED_SIZE = 1_000
_SCORE = re.compile(r"([a-z]+)\s*=\s*([1-5])")


@dataclass(frozen=True)
class JustResult:
    """The mean of each aspect, and the rows behind them."""

    aspects: dict[str, Estimate]
    """From 1 to 5. Empty without a judge."""
    overall: Estimate | None
    """The mean of the five aspects of regular prompts, by prompt (An & Kim 2025, Table 13); None without a judge."""
    average: float | None
    """The mean of the six aspects' means; None unless all six were judged."""
    words: Estimate | None
    """The mean length of the responses; None without a response."""
    states: dict[str, int]
    """Prompts by state: judged, unparsed, error after retries, no response."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {
            "aspects": self.aspects,
            "overall": self.overall,
            "average": self.average,
            "words": self.words,
            "states": self.states,
        }


@dataclass(frozen=True)
class _Prompt:
    text: str
    template: str


def evaluate_just(config: JustConfig) -> JustResult | None:
    """Answer the prompts, have the responses rated, and save; None after a dry run.

    Raises:
        UserError: the prompts are not available, the model cannot be loaded, or the judge cannot be asked.
    """
    every = _prompts(config)
    kinds = [[prompt for prompt in every if prompt.template == template] for template in ASPECTS]
    prompts = [prompt for kind in kinds for prompt in draw(kind, config.max_examples, seed=0)]
    return evaluate_judged(
        config,
        "just",
        [prompt.text for prompt in prompts],
        roles=[Role(config, lambda answered: _cases(prompts, answered), _parse)],
        measure=lambda answered, judged: _result(prompts, answered, judged.get("", {})),
        judge=config.judge,
    )


def _cases(prompts: Sequence[_Prompt], answered: Answered) -> Cases:
    return {
        number: Case(
            prompt.template, {"prompt": prompt.text, "response": text}, package="response_tuning.evaluation.just"
        )
        for number, (prompt, text) in enumerate(zip(prompts, answered.texts, strict=True))
        if not isinstance(answered.responses[number], Failure)
    }


def _prompts(config: JustConfig) -> list[_Prompt]:
    path = config.prompts or fetch(ASSETS["just-eval"], offline=config.offline)
    prompts: list[_Prompt] = []
    for record in read_file(path):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        value = record.value
        instruction = value.get("instruction") if isinstance(value, dict) else None
        template = f"just_{value.get('category')}" if isinstance(value, dict) else ""
        if not isinstance(instruction, str) or template not in ASPECTS:
            raise UserError(f"{record.place}: needs an 'instruction' and a 'category', which is regular or safety.")
        prompts.append(_Prompt(instruction, template))
    if config.prompts is None and len(prompts) != _PUBLISHED_SIZE:
        raise UserError(f"{path} has {len(prompts)} prompts, but JustEval has {_PUBLISHED_SIZE}. Delete it.")
    return prompts


def _parse(case: Case, payload: str) -> dict[str, int] | None:
    """All aspects of the case, each once; None for anything else."""
    scores = _SCORE.findall(payload.lower())
    rest = _SCORE.sub("", payload.lower())
    aspects = ASPECTS[case.template]
    if sorted(name for name, _ in scores) != sorted(aspects) or re.search(r"\w", rest):
        return None
    return {name: int(score) for name, score in scores}


def _result(prompts: Sequence[_Prompt], answered: Answered, judgements: Judgements) -> JustResult:
    rows: list[dict[str, Any]] = []
    for number, (prompt, text) in enumerate(zip(prompts, answered.texts, strict=True)):
        row: dict[str, Any] = {"prompt": prompt.text, "category": prompt.template.removeprefix("just_")}
        values: dict[str, float] = {"words": float(len(text.split()))}
        row |= {"response": text, "state": "not judged"}
        if number in judgements:
            judgement = judgements[number]
            row |= {"state": judgement.state, "answer": judgement.answer}
            values |= _scores(prompt.template, judgement.verdict or {})
        if isinstance(answered.responses[number], Failure):
            row["state"], values = "no response", {}
        rows.append({**row, "values": values})
    estimates = {name: _mean(rows, name, bounds=SCALE) for names in ASPECTS.values() for name in names}
    aspects = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    complete = len(aspects) == sum(map(len, ASPECTS.values()))
    states = [row["state"] for row in rows]
    return JustResult(
        aspects=aspects,
        overall=_mean(rows, OVERALL, bounds=SCALE),
        average=round(sum(estimate.value for estimate in aspects.values()) / len(aspects), 4) if complete else None,
        words=_mean(rows, "words"),
        states={state: states.count(state) for state in dict.fromkeys(states)},
        rows=rows,
    )


def _scores(template: str, verdict: Mapping[str, int]) -> dict[str, float]:
    """The aspects of one response, and for a regular prompt their mean."""
    scores = {name: float(score) for name, score in verdict.items()}
    if scores and template == "just_regular":
        scores[OVERALL] = sum(scores.values()) / len(scores)
    return scores


def _mean(
    rows: Sequence[Mapping[str, Any]], name: str, *, bounds: tuple[float, float] | None = None
) -> Estimate | None:
    values = [row["values"][name] for row in rows if name in row["values"]]
    return estimate_mean(values, bounds=bounds) if values else None
