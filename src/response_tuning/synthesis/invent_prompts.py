"""``rt data invent-prompts``: an instruction for each bare response, generated from the response alone.

So instruction tuning can be tried where there are no instructions, and held against response tuning on the same
responses. Source: Li et al. 2023, "Self-Alignment with Instruction Backtranslation" (arXiv 2308.06259), whose second
step, rating the pairs and keeping the best, is ``--least-score``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ledger_path
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.verdict import verdict_code
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.outcomes import READ, WRITTEN, verdict_row, without_text
from response_tuning.synthesis.request import fill_template, question_of, read_template
from response_tuning.synthesis.revision import find_revision, marker_for, refuses
from response_tuning.synthesis.stages import Stages, still_open

__all__ = ["HAS_PROMPT", "INVENTED", "InventPrompts", "InventPromptsConfig"]

INVENTED = "invented"
HAS_PROMPT = "has a prompt already, kept"
_IDENTITY = {"command": "invent-prompts"}
_PROMPT_CHARACTERS = 150
_OF_INSTRUCTION = ("prompt", "earlier_turns", "system")


class InventPromptsConfig(AskOptions):
    """Have a model invent the instruction that each bare response answers (Li et al. 2023).

    Do invented instructions beat none? Train on the file with --method it, and beside it with --method rt; the study
    invented-prompts does both. Re-run the same command to resume; OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data invent-prompts answers.jsonl --model openai/gpt-5-mini --output pairs.jsonl --dry-run
        rt study run invented-prompts
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file of responses, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write."""
    replace: bool = False
    """Invent instructions for rows that have one, too; theirs is kept as source_prompt."""
    least_score: int = Field(default=0, ge=0, le=5)
    """Have the model rate each pair from 1 to 5, and drop pairs below this; 0 rates none."""
    judge: str | None = None
    """The model that rates. Defaults to --model."""


@dataclass
class _Work:
    """One row."""

    example: Example
    state: str = ""
    """Empty as long as the next step is open."""
    prompt: str = ""
    score: int | None = None

    @property
    def completion(self) -> str:
        return self.example.completion.strip()


class InventPrompts:
    """``rt data invent-prompts``: a pair of each response that got an instruction."""

    name = "invent-prompts"
    config = InventPromptsConfig

    def make(self, config: InventPromptsConfig) -> Made | None:
        """Invent, and rate if asked to.

        Raises:
            UserError: the source cannot be read, a model cannot be asked, or no response got an instruction.
        """
        works = [_Work(example) for example in load_examples(config.source)]
        for work in works:
            if (work.example.prompt or "").strip() and not config.replace:
                work.state = HAS_PROMPT
        stages = Stages(ledger_path(config.output), _IDENTITY, config)
        if not (_invent(works, config, stages) and _rate(works, config, stages)):
            return None
        made = [_example(work) for work in works if work.state in (INVENTED, HAS_PROMPT)]
        if not made:
            raise UserError(
                f"{config.model} invented no instruction that can be used. Its answers: {ledger_path(config.output)}"
            )
        return Made(made, dict(Counter(work.state for work in works).most_common()))


def _invent(works: Sequence[_Work], config: InventPromptsConfig, stages: Stages) -> bool:
    """Give each open work its prompt; False after a dry run with open questions."""
    asked = still_open(works)
    questions = [_invention(work, config) for work in asked]
    completions = {question.key: work.completion for question, work in zip(questions, asked, strict=True)}

    def row_of(question: Question, answer: Answer | Failure) -> dict[str, Any]:
        return _invention_row(answer, completions[question.key])

    rows = stages.ask("instructions", questions, row_of)
    if rows is None:
        if config.least_score:
            say("and then a rating of each pair")
        return False
    for work, row in zip(asked, rows, strict=True):
        if row["state"] == WRITTEN:
            work.prompt = row["prompt"]
        else:
            work.state = f"left out, instruction: {row['state']}"
    return True


def _rate(works: Sequence[_Work], config: InventPromptsConfig, stages: Stages) -> bool:
    """Decide the state of each work that has a prompt; False after a dry run with open questions."""
    asked = still_open(works)
    if config.least_score:
        questions = [_rating(work, config) for work in asked]
        rows = stages.ask("ratings", questions, _rating_row, model=config.judge)
        if rows is None:
            return False
        for work, row in zip(asked, rows, strict=True):
            if row["state"] != READ:
                work.state = f"left out, rating: {row['state']}"
            else:
                work.score = row["score"]
                work.state = INVENTED if row["score"] >= config.least_score else "left out, rated below --least-score"
    for work in still_open(works):
        work.state = INVENTED
    return True


def _invention(work: _Work, config: InventPromptsConfig) -> Question:
    text = fill_template(
        read_template("invented_prompt.txt"),
        code=verdict_code(["invented_prompt", work.completion]),
        completion=work.completion,
        marker=marker_for(work.completion),
    )
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_PROMPT_CHARACTERS)


def _invention_row(answer: Answer | Failure, completion: str) -> dict[str, Any]:
    """The instruction after the marker, unless it is a refusal or holds the whole response."""
    if not isinstance(answer, Answer) or answer.ending != "finished":
        return without_text(answer)
    prompt = find_revision(answer.text, original="", marker=marker_for(completion))
    if prompt is None:
        return {"state": "no marker"}
    if refuses(prompt):
        return {"state": "refused"}
    if completion in prompt:
        return {"state": "gives the response away"}
    return {"state": WRITTEN, "prompt": prompt}


def _rating(work: _Work, config: InventPromptsConfig) -> Question:
    texts = {"prompt": work.prompt, "completion": work.completion}
    text = fill_template(read_template("pair_score.txt"), code=verdict_code(["pair_score", *texts.values()]), **texts)
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_PROMPT_CHARACTERS)


def _rating_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
    row = verdict_row(question, answer)
    if row["state"] != READ:
        return row
    is_score = row["verdict"] in ("1", "2", "3", "4", "5")
    return {"state": READ, "score": int(row["verdict"])} if is_score else {"state": "unparsed"}


def _example(work: _Work) -> Example:
    if work.state == HAS_PROMPT:
        return work.example
    fields = work.example.model_dump(exclude_unset=True)
    others = {name: value for name, value in fields.items() if name not in _OF_INSTRUCTION}
    made: dict[str, Any] = {"prompt": work.prompt, "completion": work.example.completion, **others}
    made["prompt_source"] = INVENTED
    if work.example.prompt is not None:
        made["source_prompt"] = work.example.prompt
    if work.score is not None:
        made["score"] = work.score
    return Example.model_validate(made)
