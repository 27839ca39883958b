"""Roles and rules: a model invents a system prompt (a role and rules) for each pair, and answers the pair under it.

Source: Wang et al. 2024, "RNR: Teaching Large Language Models to Follow Roles and Rules" (arXiv 2409.13733). The system
prompt precedes the instruction in the user turn, as system messages do in all data here.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ask_once, failure_state, forecast, ledger_path, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, require_prompts
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.request import fill_template, read_template
from response_tuning.synthesis.revision import MARKER, find_revision, marker_for, refuses

__all__ = ["MADE", "RolesAndRules", "RolesAndRulesConfig"]

MADE = "made"
_IDENTITY = {"command": "roles-and-rules"}
_SYSTEM_PROMPT_CHARACTERS = 500


class RolesAndRulesConfig(AskOptions):
    """Have a model invent a system prompt of role and rules for each pair, and answer under it (Wang et al. 2024).

    Re-run the same command to resume; OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data roles-and-rules pairs.jsonl --model openai/gpt-5-mini --output rules.jsonl --dry-run
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file of pairs, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write."""


class RolesAndRules:
    """``rt data roles-and-rules``: an example for each pair that got a system prompt and a response under it."""

    name = "roles-and-rules"
    config = RolesAndRulesConfig

    def make(self, config: RolesAndRulesConfig) -> Made | None:
        """Ask for a system prompt for each pair, then for a response under each system prompt.

        Raises:
            UserError: the source cannot be read or has rows without a prompt, the model cannot be asked, or no pair
                got both.
        """
        examples = load_examples(config.source)
        require_prompts(examples, source=config.source, purpose="making roles and rules")
        template = read_template("role_and_rules.txt")
        path = ledger_path(config.output)
        questions = [_system_question(row, template, config) for row in examples]
        markers = {question.key: _marker(row) for question, row in zip(questions, examples, strict=True)}
        say(f"system prompts: {forecast(questions, path, _IDENTITY, config)}\nand one response under each of them")
        if config.dry_run:
            return None

        def system_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
            return _system_row(answer, markers[question.key])

        systems = ask_once(questions, path, _IDENTITY, config, system_row)
        with_system = [(number, row["text"]) for number, row in enumerate(systems) if row["state"] == MADE]
        answers = ask_once(
            [_answer_question(examples[number], system, config) for number, system in with_system],
            path,
            _IDENTITY,
            config,
            _answer_row,
        )
        made = [
            _example(examples[number], system, row["text"])
            for (number, system), row in zip(with_system, answers, strict=True)
            if row["state"] == MADE
        ]
        if not made:
            raise UserError(f"{config.model} made no example of any pair. {path} holds its answers.")
        return Made(made, _states(systems, answers))


def _marker(example: Example) -> str:
    return marker_for((example.prompt or "").strip(), example.completion.strip())


def _system_question(example: Example, template: str, config: RolesAndRulesConfig) -> Question:
    prompt, completion = (example.prompt or "").strip(), example.completion.strip()
    text, earlier = (
        fill_template(template, prompt=prompt, completion=completion, marker=marker)
        for marker in (_marker(example), MARKER)
    )
    return Question(
        key=question_key(text),
        text=text,
        max_tokens=config.max_tokens,
        expected_characters=_SYSTEM_PROMPT_CHARACTERS,
        earlier_keys=(question_key(earlier),),
    )


def _answer_question(example: Example, system: str, config: RolesAndRulesConfig) -> Question:
    text = (example.prompt or "").strip()
    return Question(
        key=question_key(text, system=system),
        text=text,
        system=system,
        max_tokens=config.max_tokens,
        expected_characters=len(example.completion),
    )


def _system_row(answer: Answer | Failure, marker: str) -> dict[str, Any]:
    if isinstance(answer, Answer) and answer.ending == "finished":
        system = find_revision(answer.text, original="", marker=marker)
        return {"state": "no marker"} if system is None else {"state": MADE, "text": system}
    return _without_text(answer)


def _answer_row(_: Question, answer: Answer | Failure) -> dict[str, Any]:
    if isinstance(answer, Answer) and answer.ending == "finished":
        if refuses(answer.text):
            return {"state": "refused"}
        return {"state": MADE, "text": answer.text} if answer.text.strip() else {"state": "empty"}
    return _without_text(answer)


def _without_text(answer: Answer | Failure) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"state": failure_state(answer), "detail": answer.reason}
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
