"""A role and rules as a system prompt, and the check whether a response keeps a rule.

Source: Wang et al. 2024, "RNR: Teaching Large Language Models to Follow Roles and Rules" (arXiv 2409.13733). The words
are ours.
"""

import re
from dataclasses import dataclass
from typing import Any

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.verdict import verdict_code
from response_tuning.synthesis.outcomes import READ, verdict_row, without_text
from response_tuning.synthesis.request import fill_template, question_of, read_template
from response_tuning.synthesis.revision import find_revision

__all__ = ["BROKEN", "KEPT", "TOO_FEW", "RoleAndRules", "parse_rule_verdict", "role_row", "rule_question", "rule_row"]

KEPT, BROKEN = "KEPT", "BROKEN"
TOO_FEW = "too few rules"
_VERDICT_CHARACTERS = 150
_RULE = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+(.+?)\s*$")
_ROLE = re.compile(r"^\s*(?:\W*role\W*:\W*)?(.+?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class RoleAndRules:
    """What a system prompt asks of an assistant."""

    role: str
    """One sentence."""
    rules: tuple[str, ...]

    @property
    def system(self) -> str:
        """The system prompt."""
        return "\n".join([self.role, *(f"- {rule}" for rule in self.rules)])


def role_row(answer: Answer | Failure, *, marker: str, count: int) -> dict[str, Any]:
    """The role and the first ``count`` rules of an answer; fewer rules make it unusable."""
    if not isinstance(answer, Answer) or answer.ending != "finished":
        return without_text(answer)
    text = find_revision(answer.text, original="", marker=marker)
    if text is None:
        return {"state": "no marker"}
    lines = [line for line in text.splitlines() if line.strip()]
    rules = [match[1] for line in lines if (match := _RULE.match(line))]
    roles = [match[1] for line in lines if not _RULE.match(line) and (match := _ROLE.match(line))]
    if not roles:
        return {"state": "no marker"}
    if len(rules) < count:
        return {"state": TOO_FEW}
    return {"state": READ, "role": roles[0], "rules": rules[:count]}


def rule_question(prompt: str, rule: str, response: str, *, max_tokens: int) -> Question:
    """Whether a response keeps one rule."""
    texts = {"prompt": prompt, "rule": rule, "response": response}
    text = fill_template(read_template("rule_check.txt"), code=verdict_code(["rule_check", *texts.values()]), **texts)
    return question_of(text, max_tokens=max_tokens, expected_characters=_VERDICT_CHARACTERS)


def rule_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
    """The verdict, ``kept``: true or false."""
    row = verdict_row(question, answer)
    if row["state"] != READ:
        return row
    is_kept = parse_rule_verdict(row["verdict"])
    return {"state": "unparsed"} if is_kept is None else {"state": READ, "kept": is_kept}


def parse_rule_verdict(verdict: str) -> bool | None:
    """Whether a rule is kept; None for anything but the two words."""
    return {KEPT: True, BROKEN: False}.get(verdict.upper())
