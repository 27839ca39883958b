"""``rt data refine``: have a language model rewrite each response for clarity, structure and tone.

    examples --> questions --> model --> one outcome each, in a ledger --> examples with their source_completion

The ledger beside the output is the audit trail: every answer, and why it was or was not used. Source: An & Kim 2024,
section 3.3. What is asked is one of ``refine_presets``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ask_once, forecast, ledger_path, outcome_of, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import Cost
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, check_output, require_prompts, write_examples
from response_tuning.models.spec import is_local
from response_tuning.support.progress import say, warn
from response_tuning.synthesis.refine_presets import RefinePreset, RefinePresetName, refine_preset
from response_tuning.synthesis.request import fill_template, read_template
from response_tuning.synthesis.revision import MARKER, UNCHANGED, Outcome, judge_answer, marker_for

__all__ = ["REFINED", "RefineConfig", "Refined", "refine"]

REFINED = "refined"

_IDENTITY = {"command": "refine"}


class RefineConfig(AskOptions):
    """Have a language model rewrite each response for clarity, structure and tone, without changing its content.

    Every row ends as "refined" or "kept: why", and OUTPUT.audit.jsonl holds every answer. Re-run the same command to
    resume; no text is asked about twice, whichever row it stands in.

    For example:
        rt data refine answers.jsonl --output refined.jsonl
        rt data refine answers.jsonl --model openai/gpt-5-mini --output refined.jsonl --dry-run
        rt data refine pairs.jsonl --preset an-kim --model openai/gpt-5-mini --output refined.jsonl
        LOCAL_API_KEY=none rt data refine answers.jsonl --model openai-api/local/Qwen3-8B \\
            --base-url http://127.0.0.1:8000/v1 --output refined.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write; each row keeps its original as source_completion."""
    preset: RefinePresetName = "none"
    """an-kim: as An & Kim 2025, review first, then revise, with the prompt shown; any revision is used. no-rephrasing:
    as Hewitt et al. 2024, change only responses that begin by rephrasing their prompt."""
    shortest_share: float | None = Field(default=None, ge=0, le=1)
    """Keep the original where the revision has less than this fraction of its characters. Defaults to 0.5; with
    --preset an-kim, to 0."""
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
    if _preset(config).requires_prompts:
        require_prompts(examples, source=config.source, purpose=f"refining with --preset {config.preset}")
    template = read_template(_preset(config).template)
    questions = [_question(example, template, config) for example in examples]
    example_of = {question.key: example for question, example in zip(questions, examples, strict=True)}
    path = ledger_path(config.output)
    cost = forecast(questions, path, _IDENTITY, config)
    say(str(cost))
    if config.dry_run:
        return Refined(cost, {})

    def make_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        example = example_of[question.key]
        outcome = _outcome(example, answer, config)
        return {
            "state": outcome.reason or REFINED,
            "detail": outcome.detail,
            "source_completion": example.completion,
            "completion": outcome.completion,
        }

    rows = ask_once(questions, path, _IDENTITY, config, make_row)
    # Rows with one question may differ in their blanks, and each keeps its own.
    outcomes = [_outcome(example, outcome_of(row), config) for example, row in zip(examples, rows, strict=True)]
    write_examples(config.output, map(_refined_example, examples, outcomes))
    states = Counter(outcome.reason or REFINED for outcome in outcomes)
    _advise(states, rows, config)
    return Refined(cost, dict(states.most_common()))


def _outcome(example: Example, answer: Answer | Failure, config: RefineConfig) -> Outcome:
    preset, (prompt, completion) = _preset(config), _shown(example, config)
    share = preset.shortest_share if config.shortest_share is None else config.shortest_share
    return judge_answer(
        answer,
        example.completion,
        marker=marker_for(prompt, completion),
        shortest_share=share,
        # A beginning that says the prompt again has its numbers and names.
        known=(prompt if preset.requires_prompts else "") if preset.keeps_facts else completion,
    )


def _preset(config: RefineConfig) -> RefinePreset:
    return refine_preset(config.preset)


def _shown(example: Example, config: RefineConfig) -> tuple[str, str]:
    """The prompt and the completion as the model sees them."""
    shows = config.show_prompts or _preset(config).shows_prompts
    return (example.prompt or "").strip() if shows else "", example.completion.strip()


def _question(example: Example, template: str, config: RefineConfig) -> Question:
    prompt, completion = _shown(example, config)
    marker = marker_for(prompt, completion)
    text, earlier = (
        fill_template(template, prompt=prompt, completion=completion, marker=each, unchanged=UNCHANGED)
        for each in (marker, MARKER)
    )
    return Question(
        key=question_key(text),
        text=text,
        max_tokens=_limit(completion, config),
        expected_characters=len(completion),
        earlier_keys=(question_key(earlier),),
    )


def _limit(completion: str, config: RefineConfig) -> int:
    """The most tokens of an answer.

    A small model in this process that does not come to an end would take long, so its limit follows from the length of
    the text. It grows with ``--max-tokens``, too. A server's model may think before it writes.
    """
    if not is_local(config.model):
        return max(config.max_tokens, _preset(config).least_tokens)
    # In characters, so a revision may have about four times as many tokens as the original.
    usual = len(completion) + _preset(config).spare_tokens
    default = int(AskOptions.model_fields["max_tokens"].default)
    return min(config.max_tokens, max(usual, usual * config.max_tokens // default))


def _advise(states: Mapping[str, int], rows: Sequence[Mapping[str, Any]], config: RefineConfig) -> None:
    """Say how to ask again what came to nothing."""
    ways = {
        "truncated": f"re-run with a larger --max-tokens than {config.max_tokens}",
        "no marker": "re-run with --retry-unparsed",
        "error after retries": "re-run with --retry-errors",
        "refused by the server": "see the reasons in the file of answers; --retry-errors",
    }
    for state, way in ways.items():
        if states.get(state):
            warn(f"{states[state]:,} of {len(rows):,} rows are kept ({state}): {way} to ask for these again, alone.")


def _refined_example(example: Example, outcome: Outcome) -> Example:
    fields = example.model_dump(exclude_unset=True)
    return Example.model_validate(
        {
            **fields,
            "completion": outcome.completion,
            # A file that is refined again keeps the first original.
            "source_completion": fields.get("source_completion", example.completion),
            "refinement": REFINED if outcome.reason is None else f"kept: {outcome.reason}",
        }
    )
