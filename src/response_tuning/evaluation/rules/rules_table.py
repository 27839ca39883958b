"""The result of ``rt eval rules`` in the terminal."""

from rich.table import Table

from response_tuning.evaluation.rules.rule_keeping import RulesResult
from response_tuning.evaluation.shared.table import percent_cell

__all__ = ["rules_table"]


def rules_table(model: str, result: RulesResult) -> Table:
    """The pass rates by response and by rule."""
    table = Table(title=model, caption="percent, with 95% confidence interval; a response passes if it keeps all rules")
    for column in ("", "kept", "n"):
        table.add_column(column, justify="right" if column else "left")
    if result.by_response is not None:
        table.add_row("responses that keep all rules", percent_cell(result.by_response), str(result.by_response.n))
    if result.by_rule is not None:
        table.add_row("rules", percent_cell(result.by_rule), str(result.rules))
    for name, count in (("without verdict", result.without_verdict), ("without response", result.without_response)):
        if count:
            table.add_row(name, "", str(count))
    return table
