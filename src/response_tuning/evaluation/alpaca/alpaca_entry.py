"""AlpacaEval in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.alpaca.alpaca_config import AlpacaConfig
from response_tuning.evaluation.contract import Evaluation

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.alpaca.alpaca_eval import AlpacaResult

__all__ = ["ALPACA"]


def _run(config: AlpacaConfig) -> "AlpacaResult | None":
    from response_tuning.evaluation.alpaca.alpaca_eval import evaluate_alpaca

    return evaluate_alpaca(config)


def _table(config: AlpacaConfig, result: "AlpacaResult") -> "Table":
    from response_tuning.evaluation.alpaca.alpaca_table import alpaca_table

    return alpaca_table(config.model, config.reference, result)


ALPACA = Evaluation(name="alpaca", config=AlpacaConfig, run=_run, table=_table, judge="required")
