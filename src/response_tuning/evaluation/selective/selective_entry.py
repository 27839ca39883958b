"""Selective answering in the registry of evaluations."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.selective.selective_config import SelectiveConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.selective.selective_result import SelectiveResult

__all__ = ["SELECTIVE"]


def _run(config: SelectiveConfig) -> "SelectiveResult | None":
    from response_tuning.evaluation.selective.selective import evaluate_selective

    return evaluate_selective(config)


def _table(config: SelectiveConfig, result: "SelectiveResult") -> "Table":
    from response_tuning.evaluation.selective.selective_table import selective_table

    return selective_table(config.model, result)


def _options_in_all(common: Mapping[str, Any]) -> dict[str, Any]:
    """With a judge, its confidence is measured too."""
    return {"confidence": ("likelihood", "self", *(["judge"] if common["judge"] is not None else []))}


SELECTIVE = Evaluation(
    name="selective",
    config=SelectiveConfig,
    run=_run,
    table=_table,
    judge="optional",
    options_in_all=_options_in_all,
    # Without a judge, quality depends on where an instruction ranks among all others.
    compares_whole_sets=True,
    scales={"self": (1.0, 5.0), "judge": (1.0, 5.0), "trained": (0.0, 9.0), "variation": (-1.0, 1.0)},
)
