"""Core capabilities in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.capabilities.capabilities_config import CoreConfig
from response_tuning.evaluation.contract import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.capabilities.capabilities import CoreResult

__all__ = ["CAPABILITIES"]


def _run(config: CoreConfig) -> "CoreResult":
    from response_tuning.evaluation.capabilities.capabilities import evaluate_core

    return evaluate_core(config)


def _table(config: CoreConfig, result: "CoreResult") -> "Table":
    from response_tuning.evaluation.shared.table import metrics_columns

    table = metrics_columns({config.model: result.summary(config.tasks)})
    if "gsm8k" in config.tasks:
        table.caption = (
            f"{table.caption}. gsm8k: the harness's task of that name with 8 examples of the training set as earlier "
            "turns; not gsm8k_cot, whose 8 examples are those of Wei et al. 2022"
        )
    return table


CAPABILITIES = Evaluation(name="core", config=CoreConfig, run=_run, table=_table)
