"""InFoBench in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.infobench.infobench_config import InfobenchConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.infobench.infobench import InfobenchResult

__all__ = ["INFOBENCH"]


def _run(config: InfobenchConfig) -> "InfobenchResult | None":
    from response_tuning.evaluation.infobench.infobench import evaluate_infobench

    return evaluate_infobench(config)


def _table(config: InfobenchConfig, result: "InfobenchResult") -> "Table":
    from response_tuning.evaluation.shared.table import metrics_columns

    table = metrics_columns({config.model: result.ratios})
    table.caption = (
        "requirements met, in percent, with 95% confidence interval over instructions. A requirement without a verdict "
        "is left out; InFoBench's own program counts it as not met"
    )
    for state, count in result.states.items():
        table.add_row(f"requirements {state}", f"{count:,}")
    return table


INFOBENCH = Evaluation(name="infobench", config=InfobenchConfig, run=_run, table=_table, judge="required")
