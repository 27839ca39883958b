"""Have a language model rewrite each response for clarity, structure and tone (An & Kim 2024, section 3.3).

    examples --> questions --> model --> one outcome each, in a ledger --> examples with their source_completion

The ledger beside the output is the audit trail: every answer, and why it was or was not taken.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import StrictUndefined, Template

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ask_once, forecast, ledger_path, question_key
from response_tuning.asking.cost import Estimate
from response_tuning.data.data_config import RefineConfig
from response_tuning.data.sources.load import load_examples
from response_tuning.example import Example, check_output, write_examples
from response_tuning.support.progress import say
from response_tuning.synthesis.revision import MARKER, judge_answer

__all__ = ["REFINED", "Refined", "refine"]

REFINED = "refined"

# Room for a text four times as long as the original in tokens of four characters; other scripts have shorter ones.
_SPARE_TOKENS = 200


@dataclass(frozen=True)
class Refined:
    """What became of a file."""

    estimate: Estimate
    states: dict[str, int]
    """Rows by state, the most frequent first: "refined", or why the original was kept. Empty after a dry run."""


def refine(config: RefineConfig) -> Refined:
    """Refine every response of a source, going on where an earlier call broke off.

    Raises:
        UserError: the source cannot be read, the model cannot be asked, or the output holds something else.
    """
    check_output(config.output, config.source)
    examples = load_examples(config.source)
    prompt = (files("response_tuning.synthesis") / "refine.txt").read_text(encoding="utf-8")
    questions = [_question(number, example, prompt, config) for number, example in enumerate(examples, start=1)]
    originals = {question.key: example.completion for question, example in zip(questions, examples, strict=True)}
    path, identity = ledger_path(config.output), _identity(config, prompt)
    expected = forecast(questions, path, identity, config)
    say(str(expected))
    if config.dry_run:
        return Refined(expected, {})

    def judge(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        original = originals[question.key]
        outcome = judge_answer(answer, original, shortest_share=config.shortest_share)
        return {
            "state": outcome.reason or REFINED,
            "detail": outcome.detail,
            "source_completion": original,
            "completion": outcome.completion,
        }

    rows = ask_once(questions, path, identity, config, judge)
    write_examples(config.output, map(_refined_example, examples, rows))
    return Refined(expected, dict(Counter(str(row["state"]) for row in rows).most_common()))


def _identity(config: RefineConfig, prompt: str) -> dict[str, Any]:
    """What outcomes depend on, apart from the row itself."""
    return {
        "command": "refine",
        "model": config.model,
        "base_url": config.base_url,
        "max_tokens": config.max_tokens,
        "shortest_share": config.shortest_share,
        "show_prompts": config.show_prompts,
        "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
    }


def _question(number: int, example: Example, prompt: str, config: RefineConfig) -> Question:
    text = Template(prompt, undefined=StrictUndefined).render(
        prompt=(example.prompt or "").strip() if config.show_prompts else "",
        completion=example.completion.strip(),
        marker=MARKER,
    )
    return Question(
        key=question_key(number, text),
        text=text,
        max_tokens=min(config.max_tokens, len(example.completion) + _SPARE_TOKENS),
        expected_characters=len(example.completion),
    )


def _refined_example(example: Example, row: dict[str, Any]) -> Example:
    fields = example.model_dump(exclude_unset=True)
    return Example.model_validate(
        {
            **fields,
            "completion": row["completion"],
            # A file that is refined again keeps its first source.
            "source_completion": fields.get("source_completion", example.completion),
            "refinement": row["state"] if row["state"] == REFINED else f"kept: {row['state']}",
        }
    )
