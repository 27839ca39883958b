"""Roles and rules: a model invents a role and rules for each pair, answers under them, and a judge checks every rule.

    pairs --> roles and rules --> responses --> a check of each rule --> kept, or answered once more --> examples

The number of rules is drawn with the seed. A role that was invented before is asked for once more, with the roles that
exist. A response that breaks a rule is written once more, with the broken rules named; if it breaks one again, the
pair is dropped. Source: Wang et al. 2024 (arXiv 2409.13733).
"""

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ledger_path, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.verdict import verdict_code
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, Turn, require_prompts
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.outcomes import READ, WRITTEN, text_row
from response_tuning.synthesis.request import fill_template, question_of, read_template
from response_tuning.synthesis.revision import marker_for
from response_tuning.synthesis.rules import RoleAndRules, role_row, rule_question, rule_row
from response_tuning.synthesis.stages import Stages, still_open

__all__ = ["DROPPED", "KEPT", "REGENERATED", "RolesAndRules", "RolesAndRulesConfig"]

KEPT = "kept"
REGENERATED = "kept, regenerated once"
DROPPED = "dropped, rules not kept"
_IDENTITY = {"command": "roles-and-rules"}
_ROLE_CHARACTERS = 500
_ROLES_SHOWN = 20
_AGAIN = "An earlier answer broke the following of these rules. Keep every rule this time:"
_WORD = re.compile(r"\w+")


class RolesAndRulesConfig(AskOptions):
    """Have a model invent a role and rules for each pair and answer under them; a judge checks every rule.

    Examples hold role, rules and the system prompt made of them (Wang et al. 2024). Re-run the same command to resume;
    OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data roles-and-rules pairs.jsonl --model openai/gpt-5-mini --output rules.jsonl --dry-run
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file of pairs, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write."""
    fewest_rules: int = Field(default=2, ge=1)
    """The fewest rules of a system prompt."""
    most_rules: int = Field(default=5, ge=1)
    """The most; the number of each pair's rules is drawn between the two."""
    seed: int = 0
    """The seed of the numbers of rules."""
    judge: str | None = None
    """The model that checks the rules. Defaults to --model."""


@dataclass
class _Work:
    """One pair."""

    example: Example
    count: int
    """Of rules."""
    state: str = ""
    """Empty as long as the next step is open."""
    rules: RoleAndRules | None = None
    response: str = ""
    broken: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        return (self.example.prompt or "").strip()

    @property
    def asked(self) -> RoleAndRules:
        """The role and rules, once there are some."""
        assert self.rules is not None
        return self.rules


class RolesAndRules:
    """``rt data roles-and-rules``: an example for each pair whose response keeps all of its rules."""

    name = "roles-and-rules"
    config = RolesAndRulesConfig

    def make(self, config: RolesAndRulesConfig) -> Made | None:
        """Invent, answer, check, answer once more where a rule is broken, and check again.

        Raises:
            UserError: the source cannot be read or has rows without a prompt, a model cannot be asked, or no response
                keeps its rules.
        """
        if config.fewest_rules > config.most_rules:
            raise UserError(f"--fewest-rules {config.fewest_rules} is more than --most-rules {config.most_rules}.")
        examples = load_examples(config.source)
        require_prompts(examples, source=config.source, purpose="making roles and rules")
        draw = random.Random(config.seed)
        works = [_Work(example, draw.randint(config.fewest_rules, config.most_rules)) for example in examples]
        asks = _Asks(config)
        steps = (asks.invent, asks.invent_others, asks.respond, asks.check, asks.respond_again, asks.check_again)
        for step in steps:
            if not step(works):
                say("and the steps after it: responses, checks of each rule, and once more where one is broken")
                return None
        made = [_example(work) for work in works if work.state in (KEPT, REGENERATED)]
        if not made:
            raise UserError(
                f"{config.model} made no example of any pair. {ledger_path(config.output)} has its answers."
            )
        return Made(made, dict(Counter(work.state for work in works).most_common()))


class _Asks:
    """The steps in turn; each returns False after a dry run with open questions."""

    def __init__(self, config: RolesAndRulesConfig) -> None:
        self._config = config
        self._stages = Stages(ledger_path(config.output), _IDENTITY, config)

    def invent(self, works: Sequence[_Work]) -> bool:
        """A role and rules for each pair."""
        return self._invent("roles and rules", works, seen=())

    def invent_others(self, works: Sequence[_Work]) -> bool:
        """Once more, where a role has the words of an earlier one; whatever then comes is taken."""
        seen: dict[frozenset[str], str] = {}
        again: list[_Work] = []
        for work in still_open(works):
            words = frozenset(_WORD.findall(work.asked.role.lower()))
            if words in seen:
                again.append(work)
            else:
                seen[words] = work.asked.role
        return self._invent("other roles", again, seen=[*seen.values()][-_ROLES_SHOWN:]) if again else True

    def respond(self, works: Sequence[_Work]) -> bool:
        """A response under each system prompt."""
        return self._respond("responses", [(work, work.asked.system) for work in still_open(works)])

    def check(self, works: Sequence[_Work]) -> bool:
        """Which responses keep all of their rules."""
        return self._check("checks of rules", still_open(works), kept=KEPT)

    def respond_again(self, works: Sequence[_Work]) -> bool:
        """A second response where a rule was broken, with the broken rules named."""
        asked = [
            (work, "\n".join([work.asked.system, "", _AGAIN, *(f"- {rule}" for rule in work.broken)]))
            for work in still_open(works)
        ]
        return self._respond("responses, once more", asked) if asked else True

    def check_again(self, works: Sequence[_Work]) -> bool:
        """Drop what still breaks a rule."""
        asked = still_open(works)
        if not self._check("checks of rules, once more", asked, kept=REGENERATED):
            return False
        for work in still_open(works):
            work.state = DROPPED
        return True

    def _invent(self, name: str, works: Sequence[_Work], *, seen: Sequence[str]) -> bool:
        questions = [_role_question(work, seen, self._config) for work in works]
        of_question = {question.key: work for question, work in zip(questions, works, strict=True)}
        markers = {key: _marker(work, seen) for key, work in of_question.items()}

        def row_of(question: Question, answer: Answer | Failure) -> dict[str, Any]:
            return role_row(answer, marker=markers[question.key], count=of_question[question.key].count)

        rows = self._stages.ask(name, questions, row_of)
        if rows is None:
            return False
        for work, row in zip(works, rows, strict=True):
            if row["state"] == READ:
                work.rules = RoleAndRules(row["role"], tuple(row["rules"]))
            elif work.rules is None:  # otherwise it keeps the role that another pair has as well
                work.state = f"left out, role and rules: {row['state']}"
        return True

    def _respond(self, name: str, asked: Sequence[tuple[_Work, str]]) -> bool:
        questions = [_response_question(work, system, self._config) for work, system in asked]
        rows = self._stages.ask(name, questions, text_row)
        if rows is None:
            return False
        for (work, _), row in zip(asked, rows, strict=True):
            if row["state"] == WRITTEN:
                work.response = row["text"]
            else:
                work.state = f"left out, response: {row['state']}"
        return True

    def _check(self, name: str, works: Sequence[_Work], *, kept: str) -> bool:
        limit = self._config.max_tokens
        questions = [
            rule_question(work.prompt, rule, work.response, max_tokens=limit)
            for work in works
            for rule in work.asked.rules
        ]
        rows = self._stages.ask(name, questions, rule_row, model=self._config.judge)
        if rows is None:
            return False
        verdicts = iter(rows)
        for work in works:
            own = [next(verdicts) for _ in work.asked.rules]
            failed = next((row["state"] for row in own if row["state"] != READ), None)
            if failed:
                work.state = f"left out, check: {failed}"
                continue
            work.broken = [rule for rule, row in zip(work.asked.rules, own, strict=True) if not row["kept"]]
            work.state = "" if work.broken else kept
        return True


def _marker(work: _Work, seen: Sequence[str]) -> str:
    return marker_for(work.prompt, *seen)


def _role_question(work: _Work, seen: Sequence[str], config: RolesAndRulesConfig) -> Question:
    text = fill_template(
        read_template("role_and_rules.txt"),
        code=verdict_code(["role_and_rules", work.prompt, *seen]),
        prompt=work.prompt,
        seen=seen,
        count=work.count,
        marker=_marker(work, seen),
    )
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_ROLE_CHARACTERS)


def _response_question(work: _Work, system: str, config: RolesAndRulesConfig) -> Question:
    earlier = tuple(work.example.earlier_turns or ())
    return Question(
        key=question_key(work.prompt, system=system, earlier_turns=earlier),
        text=work.prompt,
        system=system,
        earlier_turns=earlier,
        max_tokens=config.max_tokens,
        expected_characters=len(work.example.completion),
    )


def _example(work: _Work) -> Example:
    """The system prompt is at the head of the user's first turn, as system messages are everywhere here."""
    source, asked = work.example, work.asked
    fields = source.model_dump(exclude_unset=True)
    turns = list(source.earlier_turns or ())
    first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    prompt = source.prompt or ""
    if first is None:
        prompt = f"{asked.system}\n\n{prompt}"
    else:
        turns[first] = Turn(role="user", content=f"{asked.system}\n\n{turns[first].content}")
        fields["earlier_turns"] = [turn.model_dump() for turn in turns]
    made: dict[str, Any] = {"prompt": prompt, "completion": work.response, "system": asked.system}
    made |= {"role": asked.role, "rules": [*asked.rules], "rule_check": work.state}
    return Example.model_validate(
        {**fields, **made, "source_prompt": source.prompt, "source_completion": source.completion}
    )
