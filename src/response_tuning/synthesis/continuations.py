"""Non-instructional tuning: the first half of an ordinary text as the prompt, a teacher's continuation as the response.

Source: Xie et al. 2024, "Non-instructional Fine-tuning" (arXiv 2409.00096). Their control is the text's own second
half, which is much weaker: here ``--continuation own``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ledger_path, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.verdict import verdict_code
from response_tuning.data.quality.instruction_like import instruction_like
from response_tuning.data.recipes.halves import halve, pieces
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.data.sources.source import SplitAt
from response_tuning.example import Example, only_good
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.outcomes import READ, WRITTEN, text_row, verdict_row
from response_tuning.synthesis.request import fill_template, question_of, read_template
from response_tuning.synthesis.stages import Stages, still_open

__all__ = ["MADE", "NonInstructional", "NonInstructionalConfig"]

MADE = "made"
_LIKE = "instruction-like"
_TOO_SHORT = "left out, too short"
_IDENTITY = {"command": "non-instructional"}
_VERDICT_CHARACTERS = 200


class NonInstructionalConfig(AskOptions):
    """Make pairs from ordinary texts: the first half is the prompt, a model's continuation the response (Xie et al.).

    Train on them with --method it: response tuning would leave the first halves out. Re-run the same command to resume;
    OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data non-instructional books/ --model openai/gpt-5-mini --output continued.jsonl --dry-run
        rt data non-instructional books/ --continuation own --output halves.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A folder of .md and .txt files, or any other source; of rows, the response is the text."""
    output: Path
    """The JSONL file to write."""
    continuation: Literal["teacher", "own"] = "teacher"
    """Who continues the first half: --model as the teacher; or the text itself, the control of the paper."""
    split_at: SplitAt = "files"
    """What counts as one text in text files: each file, or each section under a heading."""
    least_words: int = Field(default=40, ge=2)
    """Leave out shorter texts."""
    most_words: int = Field(default=400, ge=2)
    """Split longer texts between paragraphs."""
    instruction_like: Literal["count", "drop"] = "count"
    """What to do with rows that look like an instruction and its answer: mark and count them, or drop them."""
    screener: str | None = None
    """A model that decides which rows look so, instead of patterns of English."""


@dataclass
class _Work:
    """One piece of a text."""

    prompt: str
    own: str
    others: dict[str, Any]
    completion: str = ""
    state: str = ""
    """Empty as long as the next step is open."""
    reason: str | None = None
    """Why it looks like an instruction and its answer; None if it does not."""


class NonInstructional:
    """``rt data non-instructional``: an example of each piece of each text."""

    name = "non-instructional"
    config = NonInstructionalConfig

    def make(self, config: NonInstructionalConfig) -> Made | None:
        """Split each text into pieces, halve each piece, have the first halves continued, and screen the rows.

        Raises:
            UserError: the source cannot be read, all its texts are too short, or a model cannot be asked.
        """
        works, too_short = _halves(config)
        stages = Stages(ledger_path(config.output), _IDENTITY, config)
        if not (_continue(works, config, stages) and _screen(works, config, stages)):
            return None
        kept = [work for work in works if work.state.startswith(MADE)]
        if not kept:
            raise UserError(f"{config.model} continued no text. {stages.path} holds its answers.")
        states = Counter(work.state for work in works)
        states.update({_TOO_SHORT: too_short} if too_short else {})
        return Made([_example(work, config) for work in kept], dict(states.most_common()))


def _halves(config: NonInstructionalConfig) -> tuple[list[_Work], int]:
    """The pieces that are long enough, and how many are not."""
    texts = only_good(read_rows(config.source, SourceOptions(split_at=config.split_at)), source=config.source)
    works: list[_Work] = []
    too_short = 0
    for text in texts:
        others = {name: value for name, value in (text.model_extra or {}).items() if name != "prompt"}
        for piece in pieces(text.completion, most_words=config.most_words):
            halves = halve(piece) if len(piece.split()) >= config.least_words else None
            if halves is None:
                too_short += 1
            else:
                works.append(_Work(*halves, others))
    if not works:
        raise UserError(f"{config.source}: no text has {config.least_words} words. Lower --least-words.")
    return works, too_short


def _continue(works: Sequence[_Work], config: NonInstructionalConfig, stages: Stages) -> bool:
    """Give each work its completion; False after a dry run with open questions."""
    if config.continuation == "own":
        for work in works:
            work.completion = work.own
        return True
    questions = [_continuation_question(work, config) for work in works]
    rows = stages.ask("continuations", questions, text_row)
    if rows is None:
        say("and the screen, if --screener names a model")
        return False
    for work, row in zip(works, rows, strict=True):
        if row["state"] == WRITTEN:
            work.completion = row["text"]
        else:
            work.state = f"left out, continuation: {row['state']}"
    return True


def _screen(works: Sequence[_Work], config: NonInstructionalConfig, stages: Stages) -> bool:
    """Decide the state of each work that has a completion; False after a dry run with open questions."""
    open_works = still_open(works)
    if config.screener is None:
        for work in open_works:
            work.reason = instruction_like(work.prompt, work.completion)
    else:
        questions = [_screen_question(work, config) for work in open_works]
        rows = stages.ask("screen", questions, _screen_row, model=config.screener)
        if rows is None:
            return False
        for work, row in zip(open_works, rows, strict=True):
            if row["state"] != READ:
                work.state = f"left out, screen: {row['state']}"
            elif row["verdict"] == "YES":
                work.reason = f"by {config.screener}"
    for work in still_open(open_works):
        found = f"left out, {_LIKE}" if config.instruction_like == "drop" else f"{MADE}, {_LIKE}"
        work.state = MADE if work.reason is None else found
    return True


def _continuation_question(work: _Work, config: NonInstructionalConfig) -> Question:
    words = max(10, round(len(work.own.split()), -1))
    system = fill_template(read_template("continuation.txt"), words=words).strip()
    return Question(
        key=question_key(work.prompt, system=system),
        text=work.prompt,
        system=system,
        max_tokens=config.max_tokens,
        expected_characters=len(work.own),
    )


def _screen_question(work: _Work, config: NonInstructionalConfig) -> Question:
    texts = {"prompt": work.prompt, "completion": work.completion}
    code = verdict_code(["instruction-like", *texts.values()])
    text = fill_template(read_template("instruction_like.txt"), code=code, **texts)
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_VERDICT_CHARACTERS)


def _screen_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
    row = verdict_row(question, answer)
    if row["state"] != READ:
        return row
    verdict = row["verdict"].upper()
    return {"state": READ, "verdict": verdict} if verdict in ("YES", "NO") else {"state": "unparsed"}


def _example(work: _Work, config: NonInstructionalConfig) -> Example:
    fields: dict[str, Any] = {"prompt": work.prompt, "completion": work.completion, **work.others}
    if config.continuation == "teacher":
        fields["source_completion"] = work.own
    if work.reason is not None:
        fields["instruction_like"] = work.reason
    return Example.model_validate(fields)
