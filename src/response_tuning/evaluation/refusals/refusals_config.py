"""Refusals: the options, and the entry in the registry."""

from typing import Any, Literal, get_args

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["REFUSALS", "RefusalsConfig", "UnsafePromptSet"]

UnsafePromptSet = Literal["advbench", "harmbench-standard", "harmbench-contextual", "malicious-instruct", "xstest"]
"""A benchmark of refusals."""


class RefusalsConfig(JudgedOptions):
    """Does a model refuse unsafe requests, and only those? AdvBench, HarmBench, MaliciousInstruct and XSTest.

    Without --judge a keyword tier decides. It supports English only, and its results are labelled "keyword".

    For example:
        rt eval refusals runs/mine --max-examples 100 --max-new-tokens 64
        rt eval refusals runs/mine --judge openai/gpt-5-mini --dry-run
    """

    sets: tuple[UnsafePromptSet, ...] = get_args(UnsafePromptSet)
    """The benchmarks to run."""


def _run(config: RefusalsConfig) -> Any:
    from response_tuning.evaluation.refusals.refusals import evaluate_refusals

    return evaluate_refusals(config)


def _table(config: RefusalsConfig, result: Any) -> Any:
    from response_tuning.evaluation.refusals.refusals_table import refusals_table

    return refusals_table(config.model, result)


REFUSALS = Evaluation(name="refusals", config=RefusalsConfig, run=_run, table=_table, judge="optional")
