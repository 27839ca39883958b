"""``rt data extract``: responses from ordinary texts, such as news: a model picks a passage and makes it an answer.

    texts --> one question each --> passage and answer, in a ledger --> examples of responses alone

Source: An & Kim 2025, appendix F, where 1,000 news articles so became responses without any instruction-tuning data
behind them. The wording of the request is ours. An answer counts only if its passage is in the text: a model that
answers out of its head is not used.
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import Field

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ask_once, failure_state, forecast, ledger_path, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.data.sources.source import SplitAt
from response_tuning.example import Example, only_good
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.facts import plain_marks
from response_tuning.synthesis.request import fill_template, read_template
from response_tuning.synthesis.revision import find_revision, marker_for, refuses

__all__ = ["MADE", "Extract", "ExtractConfig", "proportion_copied"]

MADE = "made"
NOTHING = "NO PASSAGE"
_IDENTITY = {"command": "extract"}
_COPIED = 0.9
"""Of a passage's words, in order, in the text: models that copy still mend a quotation mark or a typing error."""
_ANSWER_CHARACTERS = 2_500


class ExtractConfig(AskOptions):
    """Have a model pick a passage of each text and rewrite it as an answer: responses without instructions.

    For texts that were never answers, such as news, encyclopedias or manuals (An & Kim 2025, appendix F). Re-run the
    same command to resume; OUTPUT.audit.jsonl holds every answer, with the passage.

    For example:
        rt data extract articles.jsonl --model openai/gpt-5-mini --output responses.jsonl --dry-run
        rt data extract news/ --model openai-api/local/Qwen3-8B --base-url http://127.0.0.1:8000/v1 --output news.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A folder of .md and .txt files, or any other source; of rows, the response is the text."""
    output: Path
    """The JSONL file to write. Each row keeps its passage as source_passage."""
    split_at: SplitAt = "files"
    """What counts as one text in text files: each file, or each section under a heading."""
    least_words: int = Field(default=60, ge=1)
    """Leave out shorter texts."""
    most_words: int = Field(default=2_000, ge=2)
    """Show the model no more than the first N words of a text."""
    max_tokens: int = Field(default=2_048, ge=1)
    """The maximum length of an answer in tokens. With a larger one, answers that were cut off are asked for again."""


class Extract:
    """``rt data extract``: a response of each text in which the model finds one."""

    name = "extract"
    config = ExtractConfig

    def make(self, config: ExtractConfig) -> Made | None:
        """Ask about each text; equal texts once.

        Raises:
            UserError: the source cannot be read, all its texts are too short, the model cannot be asked, or it found
                nothing in any text.
        """
        rows = only_good(read_rows(config.source, SourceOptions(split_at=config.split_at)), source=config.source)
        texts = {
            _first_words(row.completion, config.most_words): None
            for row in rows
            if len(row.completion.split()) >= config.least_words
        }
        if not texts:
            raise UserError(f"{config.source}: no text has {config.least_words} words. Lower --least-words.")
        questions = [_question(text, config) for text in texts]
        text_of = {question.key: text for question, text in zip(questions, texts, strict=True)}
        path = ledger_path(config.output)
        say(str(forecast(questions, path, _IDENTITY, config)))
        if config.dry_run:
            return None

        def row_of(question: Question, answer: Answer | Failure) -> dict[str, Any]:
            return _outcome(text_of[question.key], answer)

        outcomes = ask_once(questions, path, _IDENTITY, config, row_of)
        made = [_example(outcome) for outcome in outcomes if outcome["state"] == MADE]
        if not made:
            raise UserError(f"{config.model} made no response of any text. {path} holds its answers.")
        return Made(made, _states(outcomes, left_out=len(rows) - len(texts)))


def proportion_copied(passage: str, text: str) -> float:
    """The proportion of a passage's words that the text has too, in the same order."""
    words, of_text = (plain_marks(one).casefold().split() for one in (passage, text))
    if not words:
        return 0.0
    blocks = difflib.SequenceMatcher(None, words, of_text, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(words)


def _first_words(text: str, most: int) -> str:
    """A text up to its ``most``-th word, with its line breaks."""
    text = text.strip()
    rest = text.split(maxsplit=most)
    return text if len(rest) <= most else text[: len(text) - len(rest[most])].rstrip()


def _markers(text: str) -> tuple[str, str]:
    """The heading of the passage and that of the answer; both have the nonce of the text."""
    marker = marker_for(text)
    return f"### Passage {marker.rpartition(' ')[2]}", marker


def _question(text: str, config: ExtractConfig) -> Question:
    passage_marker, marker = _markers(text)
    filled = fill_template(
        read_template("extract/extract.txt"), text=text, passage_marker=passage_marker, marker=marker, nothing=NOTHING
    )
    return Question(
        key=question_key(filled),
        text=filled,
        max_tokens=config.max_tokens,
        expected_characters=min(_ANSWER_CHARACTERS, 2 * len(text)),
    )


def _outcome(text: str, answer: Answer | Failure) -> dict[str, Any]:
    """The state of a text, and what was made of it."""
    if isinstance(answer, Failure):
        return {"state": failure_state(answer), "detail": answer.reason}
    if answer.ending != "finished":
        return {"state": "refused" if answer.ending == "filtered" else "truncated"}
    passage_marker, marker = _markers(text)
    response = find_revision(answer.text, original="", marker=marker)
    if response is None:
        if NOTHING in answer.text.upper():
            return {"state": "no passage"}
        return {"state": "refused" if refuses(answer.text) else "no marker"}
    passage = answer.text.partition(passage_marker)[2].partition(marker)[0].strip()
    if not passage:
        return {"state": "no marker"}
    if refuses(response):
        return {"state": "refused"}
    copied = proportion_copied(passage, text)
    state = MADE if copied >= _COPIED else "passage is not in the text"
    return {"state": state, "completion": response, "passage": passage, "copied": round(copied, 3)}


def _example(outcome: dict[str, Any]) -> Example:
    return Example.model_validate({"completion": outcome["completion"], "source_passage": outcome["passage"]})


def _states(outcomes: Sequence[dict[str, Any]], *, left_out: int) -> dict[str, int]:
    states = Counter(MADE if outcome["state"] == MADE else f"left out: {outcome['state']}" for outcome in outcomes)
    if left_out:
        states["left out: too short, or there twice"] = left_out
    return dict(states.most_common())
