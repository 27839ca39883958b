"""Rule keeping in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.rules.rules_config import RulesConfig

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.evaluation.rules.rule_keeping import RulesResult

__all__ = ["RULES"]


def _run(config: RulesConfig) -> "RulesResult | None":
    from response_tuning.evaluation.rules.rule_keeping import evaluate_rules

    return evaluate_rules(config)


def _table(config: RulesConfig, result: "RulesResult") -> "Table":
    from response_tuning.evaluation.rules.rules_table import rules_table

    return rules_table(config.model, result)


RULES = Evaluation(name="rules", config=RulesConfig, run=_run, table=_table, judge="required", in_all=False)
