"""Refusals in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.refusals.refusals_config import RefusalsConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.refusals.refusals import RefusalsResult

__all__ = ["REFUSALS"]


def _run(config: RefusalsConfig) -> "RefusalsResult | None":
    from response_tuning.evaluation.refusals.refusals import evaluate_refusals

    return evaluate_refusals(config)


def _table(config: RefusalsConfig, result: "RefusalsResult") -> "Table":
    from response_tuning.evaluation.refusals.refusals_table import refusals_table

    return refusals_table(config.model, result)


REFUSALS = Evaluation(name="refusals", config=RefusalsConfig, run=_run, table=_table, judge="optional")
