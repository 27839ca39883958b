"""``rt data refine``: have a language model rewrite each response for clarity, structure and tone.

    examples --> questions --> model --> one outcome each, in a ledger --> examples with their source_completion

The ledger beside the output is the audit trail: every answer, and why it was or was not used. Source: An & Kim 2024,
section 3.3.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ask_once, forecast, ledger_path, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import Cost
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, check_output, write_examples
from response_tuning.support.progress import say
from response_tuning.synthesis.request import fill_template, read_template
from response_tuning.synthesis.revision import MARKER, judge_answer

__all__ = ["REFINED", "RefineConfig", "Refined", "refine"]

REFINED = "refined"

# Added to the original's length in characters, so a revision may have about four times as many tokens as the original.
_SPARE_TOKENS = 200


class RefineConfig(AskOptions):
    """Have a language model rewrite each response for clarity, structure and tone, without changing its content.

    Every row ends as "refined" or "kept: why", and OUTPUT.audit.jsonl holds every answer. Re-run the same command to
    resume; no row is asked twice.

    For example:
        rt data refine answers.jsonl --output refined.jsonl
        rt data refine answers.jsonl --model openai/gpt-5-mini --output refined.jsonl --dry-run
        LOCAL_API_KEY=none rt data refine answers.jsonl --model openai-api/local/Qwen3-8B \\
            --base-url http://127.0.0.1:8000/v1 --output refined.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write; each row keeps its original as source_completion."""
    shortest_share: float = Field(default=0.5, ge=0, le=1)
    """Keep the original where the revision has less than this fraction of its characters."""
    show_prompts: bool = False
    """Also show the model the prompt of each row that has one. This helps large models and confuses small ones."""


@dataclass(frozen=True)
class Refined:
    """The cost of refining a source, and the states of its rows."""

    cost: Cost
    states: dict[str, int]
    """Rows by state, most frequent first: "refined", or why the original was kept. Empty after a dry run."""


def refine(config: RefineConfig) -> Refined:
    """Refine every response of a source; resumes an earlier call that was interrupted.

    Raises:
        UserError: the source cannot be read, the model cannot be asked, or the output holds something else.
    """
    check_output(config.output, config.source)
    examples = load_examples(config.source)
    template = read_template("refine.txt")
    questions = [_question(number, example, template, config) for number, example in enumerate(examples, start=1)]
    originals = {question.key: example.completion for question, example in zip(questions, examples, strict=True)}
    path, identity = ledger_path(config.output), _identity(config, template)
    cost = forecast(questions, path, identity, config)
    say(str(cost))
    if config.dry_run:
        return Refined(cost, {})

    def make_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        original = originals[question.key]
        outcome = judge_answer(answer, original, shortest_share=config.shortest_share)
        return {
            "state": outcome.reason or REFINED,
            "detail": outcome.detail,
            "source_completion": original,
            "completion": outcome.completion,
        }

    rows = ask_once(questions, path, identity, config, make_row)
    write_examples(config.output, map(_refined_example, examples, rows))
    return Refined(cost, dict(Counter(str(row["state"]) for row in rows).most_common()))


def _identity(config: RefineConfig, template: str) -> dict[str, Any]:
    """What outcomes depend on, apart from the row itself. A ledger with another identity is refused."""
    return {
        "command": "refine",
        "model": config.model,
        "base_url": config.base_url,
        "max_tokens": config.max_tokens,
        "shortest_share": config.shortest_share,
        "show_prompts": config.show_prompts,
        "prompt_sha256": hashlib.sha256(template.encode()).hexdigest(),
    }


def _question(number: int, example: Example, template: str, config: RefineConfig) -> Question:
    text = fill_template(
        template,
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
            # A file that is refined again keeps the first original.
            "source_completion": fields.get("source_completion", example.completion),
            "refinement": row["state"] if row["state"] == REFINED else f"kept: {row['state']}",
        }
    )
