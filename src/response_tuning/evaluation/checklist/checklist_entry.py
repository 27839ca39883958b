"""The checklist comparison in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.checklist.checklist_config import ChecklistConfig
from response_tuning.evaluation.contract import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.checklist.checklist import ChecklistResult

__all__ = ["CHECKLIST"]


def _run(config: ChecklistConfig) -> "ChecklistResult | None":
    from response_tuning.evaluation.checklist.checklist import evaluate_checklist

    return evaluate_checklist(config)


def _table(config: ChecklistConfig, result: "ChecklistResult") -> "Table":
    from response_tuning.evaluation.checklist.checklist_table import checklist_table

    return checklist_table(config, result)


CHECKLIST = Evaluation(
    name="checklist",
    config=ChecklistConfig,
    run=_run,
    table=_table,
    judge="required",
    scales={"win": (0.0, 1.0), "win_without_checklist": (0.0, 1.0)},
    in_all=False,
)
