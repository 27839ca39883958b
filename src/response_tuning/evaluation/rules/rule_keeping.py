"""Does a model keep the rules of its system prompt? A judge checks each rule of each response.

The pass rate of Wang et al. 2024 (arXiv 2409.13733) is that of responses: one passes if it keeps all of its rules. The
rate of single rules is reported as well, with an interval over responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.rules.rules_config import RulesConfig
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.dialogues import Dialogue, respond_to_dialogues
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Role, evaluate_judged
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.evaluation.shared.judge import Case
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean, estimate_ratio
from response_tuning.example import Example, require_prompts, split_system
from response_tuning.support.errors import UserError
from response_tuning.synthesis.rules import parse_rule_verdict

__all__ = ["RulesResult", "evaluate_rules"]


@dataclass(frozen=True)
class RulesResult:
    """Pass rates, and the rows behind them."""

    by_response: Estimate | None
    """The proportion of responses that keep all of their rules; of those with a verdict on each. None without any."""
    by_rule: Estimate | None
    """The proportion of rules kept; n counts responses, whose rules are not independent."""
    rules: int
    """Rules with a verdict."""
    without_verdict: int
    """Rules without one, in responses that exist."""
    without_response: int
    """Prompts without a response."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        names = ("by_response", "by_rule", "rules", "without_verdict", "without_response")
        return {name: getattr(self, name) for name in names}


def evaluate_rules(config: RulesConfig) -> RulesResult | None:
    """Answer under each system prompt, have every rule checked, and save; None after a dry run.

    Raises:
        UserError: the data are missing or have no rules, the model cannot be loaded or asked, or the judge cannot.
    """
    if config.data is None:
        raise UserError("rt eval rules needs --data, rows with rules. rt data roles-and-rules makes such rows.")
    every = load_examples(str(config.data), offline=config.offline)
    require_prompts(every, source=str(config.data), purpose="answering under rules")
    for number, example in enumerate(every, start=1):
        if not _rules(example):
            raise UserError(f"{config.data}: row {number} has no 'rules', a list of lines of text.")
    examples = draw(every, config.max_examples, seed=0)
    dialogues = [_dialogue(example) for example in examples]

    def answer(
        config: JudgedOptions, _: Sequence[str], /, *, folder: Path, judges: Sequence[AskOptions] = ()
    ) -> Answered | None:
        return respond_to_dialogues(config, dialogues, folder=folder, judges=judges)

    return evaluate_judged(
        config,
        "rules",
        [dialogue.prompt for dialogue in dialogues],
        roles=[
            Role(
                config,
                lambda answered: _cases(examples, dialogues, answered),
                lambda _, verdict: parse_rule_verdict(verdict),
            )
        ],
        measure=lambda answered, judged: _result(examples, dialogues, answered, judged.get("", {})),
        judge=config.judge,
        answer=answer,
    )


def _rules(example: Example) -> list[str]:
    value = (example.model_extra or {}).get("rules")
    is_list = isinstance(value, list) and all(isinstance(rule, str) for rule in value)
    return [rule for rule in value if rule.strip()] if is_list and value else []


def _dialogue(example: Example) -> Dialogue:
    """The row as a conversation; without a system prompt of its own, its rules are one."""
    prompt, turns, system = split_system(example)
    return Dialogue(prompt or "", turns, system or "\n".join(f"- {rule}" for rule in _rules(example)))


def _cases(examples: Sequence[Example], dialogues: Sequence[Dialogue], answered: Answered) -> Cases:
    """A case for each rule of each response, numbered through."""
    cases: dict[int, Case] = {}
    number = 0
    for example, dialogue, response in zip(examples, dialogues, answered.responses, strict=True):
        for rule in _rules(example):
            if not isinstance(response, Failure):
                cases[number] = Case(
                    "rule_check",
                    {"prompt": dialogue.prompt, "rule": rule, "response": response.text},
                    package="response_tuning.synthesis",
                )
            number += 1
    return cases


def _result(
    examples: Sequence[Example], dialogues: Sequence[Dialogue], answered: Answered, judgements: Judgements
) -> RulesResult:
    rows: list[dict[str, Any]] = []
    number = missing = 0
    for example, dialogue, text, response in zip(examples, dialogues, answered.texts, answered.responses, strict=True):
        rules = _rules(example)
        judged = [judgements[number + place] for place in range(len(rules)) if number + place in judgements]
        number += len(rules)
        kept = [judgement.verdict for judgement in judged if judgement.verdict is not None]
        missing += len(judged) - len(kept)
        values: dict[str, Any] = {"rules_kept": [sum(kept), len(kept)]} if kept else {}
        if len(kept) == len(rules):
            values["all_rules_kept"] = float(all(kept))
        row = {"prompt": dialogue.prompt, "system": dialogue.system, "response": text, "rules": rules}
        row |= {"kept": [judgement.verdict for judgement in judged]}
        row |= {"state": "no response" if isinstance(response, Failure) else [judgement.state for judgement in judged]}
        row |= {"answer": "\n\n---\n\n".join(judgement.answer for judgement in judged)}
        rows.append({**row, "values": values})
    counts = [row["values"]["rules_kept"] for row in rows if "rules_kept" in row["values"]]
    whole = [row["values"]["all_rules_kept"] for row in rows if "all_rules_kept" in row["values"]]
    return RulesResult(
        by_response=estimate_mean(whole) if whole else None,
        by_rule=estimate_ratio([part for part, _ in counts], [count for _, count in counts]) if counts else None,
        rules=sum(count for _, count in counts),
        without_verdict=missing,
        without_response=sum(isinstance(response, Failure) for response in answered.responses),
        rows=rows,
    )
