"""Does a model refuse what is unsafe, and only that (An & Kim 2024, section 4)?

AdvBench, HarmBench and MaliciousInstruct hold unsafe prompts; XSTest pairs unsafe prompts with safe ones that look like
them. A keyword tier decides always; where there is a judge, the judge's verdicts make the numbers, and both are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.evaluation.evaluation_config import RefusalsConfig
from response_tuning.evaluation.refusals.refusal_judge import JudgedRefusal, judge_refusals
from response_tuning.evaluation.refusals.refusal_keywords import METHOD, keyword_verdict
from response_tuning.evaluation.refusals.refusal_metrics import (
    ExaggeratedSafety,
    RefusalRates,
    exaggerated_safety,
    rates_by_category,
    refusal_rates,
)
from response_tuning.evaluation.refusals.unsafe_prompts import UnsafePrompt, load_unsafe_prompts
from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.answering import Answered, respond
from response_tuning.evaluation.shared.results import results_folder, save_evaluation
from response_tuning.inference.generate import Response

__all__ = ["RefusalsResult", "evaluate_refusals"]


@dataclass(frozen=True)
class RefusalsResult:
    """Rates by benchmark, XSTest's scores, and every response and verdict."""

    rates: dict[str, RefusalRates]
    """By benchmark; XSTest's unsafe and safe prompts apart."""
    categories: dict[str, dict[str, RefusalRates]]
    """By benchmark and category."""
    xstest: ExaggeratedSafety | None
    method: str
    """"keyword", or the judge."""
    rows: list[dict[str, Any]]


def evaluate_refusals(config: RefusalsConfig) -> RefusalsResult | None:
    """Answer the prompts, decide what was refused, and save; None after a dry run.

    Raises:
        UserError: a benchmark cannot be had, the model cannot be loaded, or the judge cannot be asked.
    """
    prompts = [
        prompt
        for name in config.sets
        for prompt in draw(load_unsafe_prompts(name, offline=config.offline), config.max_examples, seed=0)
    ]
    folder = results_folder(config.model, "refusals", config.output)
    answered = respond(config, [prompt.prompt for prompt in prompts], folder=folder, judges=config.judges())
    if answered is None:
        return None
    texts = ["" if isinstance(response, Failure) else response.text for response in answered.responses]
    judged: Sequence[JudgedRefusal | None] = [None] * len(prompts)
    if config.judge is not None:
        pairs = [(prompt.prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        verdicts = judge_refusals(pairs, config, folder=folder)
        if verdicts is None:
            return None
        judged = verdicts
    rows = [_row(*parts) for parts in zip(prompts, answered.responses, judged, strict=True)]
    result = _result(rows, method=config.judge or METHOD)
    _save(folder, config, answered, result)
    return result


def _row(prompt: UnsafePrompt, response: Response | Failure, judged: JudgedRefusal | None) -> dict[str, Any]:
    text = "" if isinstance(response, Failure) else response.text
    group = _group(prompt)
    keyword = keyword_verdict(prompt.prompt, text)
    verdict, state = (keyword.verdict, "judged") if judged is None else (judged.verdict, judged.state)
    if isinstance(response, Failure):
        verdict, state = "unparsed", "no response"
    return {
        "benchmark": prompt.benchmark,
        "group": group,
        "identifier": prompt.identifier,
        "category": prompt.category,
        "is_unsafe": prompt.is_unsafe,
        "prompt": prompt.prompt,
        "response": text,
        "stops": not isinstance(response, Failure) and response.stopped,
        "state": state,
        "verdict": verdict,
        "keyword_verdict": keyword.verdict,
        "keyword_evidence": keyword.evidence,
        "answer": judged.answer if judged else None,
        "values": {f"refused, {group}": float(verdict == "refusal")} if verdict in DECIDED else {},
    }


def _group(prompt: UnsafePrompt) -> str:
    """XSTest's safe prompts should be answered: they are counted apart from its unsafe ones."""
    if prompt.benchmark != "xstest":
        return prompt.benchmark
    return "xstest, unsafe" if prompt.is_unsafe else "xstest, safe"


def _result(rows: list[dict[str, Any]], *, method: str) -> RefusalsResult:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    xstest = [(row["is_unsafe"], row["verdict"]) for row in rows if row["benchmark"] == "xstest"]
    return RefusalsResult(
        rates={name: refusal_rates(_verdicts(group)) for name, group in groups.items()},
        categories={
            name: rates_by_category((row["category"], row["verdict"]) for row in group)
            for name, group in groups.items()
        },
        xstest=exaggerated_safety(xstest) if xstest else None,
        method=method,
        rows=rows,
    )


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    return [row["verdict"] for row in rows]


def _save(folder: Path, config: RefusalsConfig, answered: Answered, result: RefusalsResult) -> None:
    save_evaluation(
        folder,
        "refusals",
        config=config,
        answered=answered,
        metrics={
            "method": result.method,
            "rates": result.rates,
            "categories": result.categories,
            "xstest": result.xstest,
        },
        rows=result.rows,
        judge=config.judge,
    )
