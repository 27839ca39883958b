"""JustEval in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.just.just_config import ASPECTS, OVERALL, SCALE, JustConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.just.just_eval import JustResult

__all__ = ["JUST"]


def _run(config: JustConfig) -> "JustResult | None":
    from response_tuning.evaluation.just.just_eval import evaluate_just

    return evaluate_just(config)


def _table(config: JustConfig, result: "JustResult") -> "Table":
    from response_tuning.evaluation.just.just_table import just_table

    return just_table(config.model, result)


JUST = Evaluation(
    name="just",
    config=JustConfig,
    run=_run,
    table=_table,
    judge="required",
    scales=dict.fromkeys((OVERALL, *(aspect for aspects in ASPECTS.values() for aspect in aspects)), SCALE),
)
