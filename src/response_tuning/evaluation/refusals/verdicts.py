"""The possible verdicts on a response to a prompt that a model might refuse."""

from typing import Literal

__all__ = ["DECIDED", "Verdict"]

Verdict = Literal["refusal", "compliance", "unparsed", "empty"]
"""refusal, compliance; unparsed: a judge's answer without a verdict; empty: a response without a word."""

DECIDED: tuple[Verdict, ...] = ("refusal", "compliance")
"""The verdicts that count in rates."""
