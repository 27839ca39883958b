"""The result of ``rt rules`` in the terminal: what every rule weighs on the model's tokenizer."""

from rich.table import Table

from response_tuning.runs.rules.make_rules import RulesRunMade
from response_tuning.runs.rules.rule_file import DiversityRule, EosRule, PiecesRule

__all__ = ["rules_table"]


def rules_table(made: RulesRunMade) -> Table:
    """A row for every rule, and for every text that one weighs."""
    title = f"{', '.join(made.rules)}, in the format {made.format}"
    table = Table(title=title, title_justify="left", caption="weights are added to the logits [nats]")
    for header in ("rule", "tokens"):
        table.add_column(header)
    table.add_column("weight", justify="right")
    table.add_column("ids")
    for name, rule in made.rules.items():
        match rule:
            case EosRule():
                weight = f"{rule.weight:g} n / {rule.tokens}"
                table.add_row(name, f"{', '.join(made.stop_tokens)} after n tokens", weight, "")
            case PiecesRule():
                first = name
                for piece in made.pieces:
                    if piece.rule == name:
                        ids = ", ".join(map(str, piece.ids)) or "no such token"
                        table.add_row(first, repr(piece.text), f"{piece.weight:+g}", ids)
                        first = ""
            case DiversityRule():
                table.add_row(name, f"what occurred since the {rule.since} began", f"{rule.weight:+g}", "")
        table.add_section()
    return table
