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
    from response_tuning.evaluation.alpaca.annotated import evaluate_annotations

    return evaluate_alpaca(config) if config.annotations is None else evaluate_annotations(config)


def _table(_: AlpacaConfig, result: "AlpacaResult") -> "Table":
    from response_tuning.evaluation.alpaca.alpaca_table import alpaca_table

    return alpaca_table(result)


ALPACA = Evaluation(
    name="alpaca",
    config=AlpacaConfig,
    run=_run,
    table=_table,
    judge="required",
    scales={"win": (0.0, 1.0)},
    instead_of_model="annotations",
)
