"""Roles and rules: a model invents a system prompt of role and rules for an existing pair, and answers anew under it.

Source: Wang et al. 2024, "RNR: Teaching Large Language Models to Follow Roles and Rules" (arXiv 2409.13733). The system
prompt stands before the instruction, as system messages do in all data here.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import StrictUndefined, Template

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ERROR, ask_once, forecast, ledger_path, question_key
from response_tuning.asking.cost import Estimate
from response_tuning.data.data_config import RolesAndRulesConfig
from response_tuning.data.sources.load import load_examples
from response_tuning.example import Example, check_output, require_prompts, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.revision import MARKER, find_revision, refuses

__all__ = ["MADE", "RolesAndRules", "roles_and_rules"]

MADE = "made"
_SYSTEM_PROMPT_CHARACTERS = 500


@dataclass(frozen=True)
class RolesAndRules:
    """What became of the pairs."""

    estimate: Estimate
    """Of the system prompts; the answers under them are as many again."""
    states: dict[str, int]
    """Pairs by state: "made", or why they were left out. Empty after a dry run."""


def roles_and_rules(config: RolesAndRulesConfig) -> RolesAndRules:
    """Write an example for each pair that got a system prompt and a response under it.

    Raises:
        UserError: the source cannot be read or has rows without a prompt, or the model cannot be asked.
    """
    check_output(config.output, config.source)
    examples = load_examples(config.source)
    require_prompts(examples, source=config.source, purpose="making roles and rules")
    prompt = (files("response_tuning.synthesis") / "role_and_rules.txt").read_text(encoding="utf-8")
    path, identity = ledger_path(config.output), _identity(config, prompt)
    questions = [_system_question(number, example, prompt, config) for number, example in enumerate(examples, start=1)]
    expected = forecast(questions, path, identity, config)
    say(f"{expected}, and as many answers under the system prompts")
    if config.dry_run:
        return RolesAndRules(expected, {})
    systems = ask_once(questions, path, identity, config, _judge_system)
    with_system = [(number, row["text"]) for number, row in enumerate(systems) if row["state"] == MADE]
    answers = ask_once(
        [_answer_question(number, examples[number], system, config) for number, system in with_system],
        path,
        identity,
        config,
        _judge_answer,
    )
    made = [
        _example(examples[number], system, row["text"])
        for (number, system), row in zip(with_system, answers, strict=True)
        if row["state"] == MADE
    ]
    if not made:
        raise UserError(f"{config.model} made nothing of any pair. {path} has its answers.")
    write_examples(config.output, made)
    return RolesAndRules(expected, _states(systems, answers))


def _identity(config: RolesAndRulesConfig, prompt: str) -> dict[str, Any]:
    return {
        "command": "roles-and-rules",
        "model": config.model,
        "base_url": config.base_url,
        "max_tokens": config.max_tokens,
        "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
    }


def _system_question(number: int, example: Example, prompt: str, config: RolesAndRulesConfig) -> Question:
    text = Template(prompt, undefined=StrictUndefined).render(
        prompt=(example.prompt or "").strip(), completion=example.completion.strip(), marker=MARKER
    )
    return Question(
        key=question_key(number, text),
        text=text,
        max_tokens=config.max_tokens,
        expected_characters=_SYSTEM_PROMPT_CHARACTERS,
    )


def _answer_question(number: int, example: Example, system: str, config: RolesAndRulesConfig) -> Question:
    text = (example.prompt or "").strip()
    return Question(
        key=f"answer {question_key(number + 1, system + text)}",
        text=text,
        system=system,
        max_tokens=config.max_tokens,
        expected_characters=len(example.completion),
    )


def _judge_system(_: Question, answer: Answer | Failure) -> dict[str, Any]:
    if isinstance(answer, Answer) and answer.ending == "finished":
        system = find_revision(answer.text, original="")
        return {"state": "no marker"} if system is None else {"state": MADE, "text": system}
    return _without_text(answer)


def _judge_answer(_: Question, answer: Answer | Failure) -> dict[str, Any]:
    if isinstance(answer, Answer) and answer.ending == "finished":
        if refuses(answer.text):
            return {"state": "refused"}
        return {"state": MADE, "text": answer.text} if answer.text.strip() else {"state": "empty"}
    return _without_text(answer)


def _without_text(answer: Answer | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"state": ERROR, "detail": answer.reason}
    return {"state": "refused" if answer.ending == "filtered" else "truncated"}


def _example(source: Example, system: str, response: str) -> Example:
    fields = source.model_dump(exclude_unset=True)
    made = {"prompt": f"{system}\n\n{source.prompt}", "completion": response, "system": system}
    return Example.model_validate(
        {**fields, **made, "source_prompt": source.prompt, "source_completion": source.completion}
    )


def _states(systems: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    states = Counter(f"left out, system prompt: {row['state']}" for row in systems if row["state"] != MADE)
    states.update(MADE if row["state"] == MADE else f"left out, response: {row['state']}" for row in answers)
    return dict(states.most_common())
