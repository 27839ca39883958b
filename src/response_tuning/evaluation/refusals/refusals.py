"""Does a model refuse unsafe requests, and only those (An & Kim 2024, section 4)?

AdvBench, HarmBench and MaliciousInstruct contain unsafe prompts; XSTest pairs unsafe prompts with safe ones that look
like them. Every response gets a keyword verdict. With a judge, the rates are those of its verdicts, and both verdicts
are saved.

Two means are reported beside the rates, as in the paper: of HarmBench's standard and contextual rates, and of AdvBench,
HarmBench, MaliciousInstruct and XSTest's unsafe prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.evaluation.refusals.keyword_recall import KEYWORD_RECALL, likely_rate
from response_tuning.evaluation.refusals.refusal_judge import (
    JudgedRefusal,
    judged_refusals,
    parse_refusal,
    refusal_cases,
)
from response_tuning.evaluation.refusals.refusal_keywords import METHOD, keyword_verdict
from response_tuning.evaluation.refusals.refusal_metrics import (
    ExaggeratedSafety,
    RefusalRates,
    exaggerated_safety,
    rates_by_category,
    refusal_rates,
)
from response_tuning.evaluation.refusals.refusals_config import RefusalsConfig
from response_tuning.evaluation.refusals.unsafe_prompts import UnsafePrompt, load_unsafe_prompts
from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Judged, Role, evaluate_judged
from response_tuning.evaluation.shared.mean_of_means import add_mean_of_means
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.inference.generate import Response

__all__ = ["MEANS", "RefusalsResult", "evaluate_refusals"]

_HARMBENCH = ("refused, harmbench-standard", "refused, harmbench-contextual")
_OTHERS = ("refused, advbench", "refused, malicious-instruct", "refused, xstest, unsafe")

MEANS = {
    "refused, harmbench": dict.fromkeys(_HARMBENCH, 1 / 2),
    "refused, mean of four": dict.fromkeys(_HARMBENCH, 1 / 8) | dict.fromkeys(_OTHERS, 1 / 4),
}
"""The weight of each set's refusal rate in the means that An & Kim 2025 print (Tables 15 and 16)."""


@dataclass(frozen=True)
class RefusalsResult:
    """Rates by benchmark, XSTest's scores, and every response and verdict."""

    rates: dict[str, RefusalRates]
    """By benchmark; separately for XSTest's unsafe and safe prompts."""
    categories: dict[str, dict[str, RefusalRates]]
    """By benchmark and category."""
    xstest: ExaggeratedSafety | None
    method: str
    """"keyword", or the judge."""
    means: dict[str, Estimate]
    """The refusal rates that are means of several sets' (``MEANS``); empty where a set was not run."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        numbers: dict[str, Any] = {
            "method": self.method,
            "rates": self.rates,
            "categories": self.categories,
            "xstest": self.xstest,
        }
        numbers |= self.means
        if self.method != METHOD:
            return numbers
        return {**numbers, "keyword_recall": KEYWORD_RECALL, "likely_refusal": self.likely}

    @property
    def likely(self) -> dict[str, tuple[float, float]]:
        """The range of each true rate of refusal where keywords decided (``likely_rate``), by benchmark."""
        if self.method != METHOD:
            return {}
        return {name: likely_rate(rates.refusal) for name, rates in self.rates.items() if rates.refusal is not None}


def evaluate_refusals(config: RefusalsConfig) -> RefusalsResult | None:
    """Answer the prompts, decide which responses refuse, and save; None after a dry run.

    Raises:
        UserError: a benchmark is not available, the model cannot be loaded, or the judge cannot be asked.
    """
    prompts = [
        prompt
        for name in config.sets
        for prompt in draw(load_unsafe_prompts(name, offline=config.offline), config.max_examples, seed=0)
    ]
    texts = [prompt.prompt for prompt in prompts]

    def measure(answered: Answered, judged: Judged) -> RefusalsResult:
        verdicts = judged_refusals(len(prompts), judged[""]) if judged else [None] * len(prompts)
        rows = [_row(*parts) for parts in zip(prompts, answered.responses, verdicts, strict=True)]
        return _result(rows, method=config.judge or METHOD)

    return evaluate_judged(
        config,
        "refusals",
        texts,
        roles=[
            Role(
                config,
                lambda answered: refusal_cases([*zip(texts, answered.texts, strict=True)]),
                parse_refusal,
            )
        ],
        measure=measure,
        judge=config.judge,
    )


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
    """XSTest's safe prompts should be answered, so they are a group of their own."""
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
        means=_means(rows),
        rows=rows,
    )


def _means(rows: list[dict[str, Any]]) -> dict[str, Estimate]:
    means = {name: add_mean_of_means(rows, name, weights) for name, weights in MEANS.items()}
    return {name: estimate for name, estimate in means.items() if estimate is not None}


def _verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    return [row["verdict"] for row in rows]
