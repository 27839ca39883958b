"""IFEval in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.ifeval.ifeval_config import IfevalConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.ifeval.ifeval import IfevalResult

__all__ = ["IFEVAL"]


def _run(config: IfevalConfig) -> "IfevalResult":
    from response_tuning.evaluation.ifeval.ifeval import evaluate_ifeval

    return evaluate_ifeval(config)


def _table(config: IfevalConfig, result: "IfevalResult") -> "Table":
    from response_tuning.evaluation.shared.table import metrics_columns

    table = metrics_columns({config.model: result.metrics})
    counted = len(result.rows) - len(result.not_counted)
    table.caption = f"{table.caption}; {counted} of IFEval's 541 prompts"
    if result.not_counted:
        table.caption += (
            f". {len(result.not_counted)} prompts are left out, because their checks need NLTK's punkt_tab. They are "
            "hard ones: with all 541, the rates are up to 3 points lower"
        )
    return table


IFEVAL = Evaluation(name="ifeval", config=IfevalConfig, run=_run, table=_table)
