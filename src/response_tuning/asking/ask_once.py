"""Ask each question once: keep every outcome in a ledger, and ask only what has no outcome yet."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from response_tuning.asking.ask import Answer, Failure, Question, ask_all, open_model
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import Cost, estimate_cost
from response_tuning.asking.ledger import Ledger, open_ledger, read_ledger
from response_tuning.support.progress import progress_bar, say

__all__ = ["ERROR", "MakeRow", "ask_once", "forecast", "ledger_path", "question_key"]

ERROR: Final = "error after retries"
"""The state of a question that has no answer."""

MakeRow = Callable[[Question, Answer | Failure], dict[str, Any]]
"""Makes the ledger row of an outcome: at least a ``state``. The question's key and the answer are added to it."""


def ledger_path(output: Path) -> Path:
    """The ledger of the questions that were asked for the file ``output``."""
    return output.with_suffix(".audit.jsonl")


def question_key(number: int, text: str) -> str:
    """Identifies a question by its row and its text, so that an edited row is asked again."""
    return f"{number}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def forecast(questions: Sequence[Question], path: Path, identity: dict[str, Any], options: AskOptions) -> Cost:
    """The cost of asking those of ``questions`` that have no outcome yet. Asks and writes nothing.

    Raises:
        UserError: the ledger was started with another identity.
    """
    known = read_ledger(path, identity) or {}
    seconds = [row["seconds"] for row in known.values() if row.get("seconds")]
    return estimate_cost(_pending(questions, known, options), options, seconds_of_answers=seconds)


def ask_once(
    questions: Sequence[Question], path: Path, identity: dict[str, Any], options: AskOptions, make_row: MakeRow
) -> list[dict[str, Any]]:
    """Ask those of ``questions`` that have no outcome yet; returns the ledger row of each question.

    Args:
        questions: all of them, including those asked in an earlier call.
        path: the ledger.
        identity: what outcomes depend on, apart from the question itself.
        options: which model to ask, and how.
        make_row: called for each outcome as it arrives; its row is on disk before the next call.

    Raises:
        UserError: the model cannot be asked, or the ledger was started with another identity.
    """
    with open_ledger(path, identity) as ledger:
        pending = _pending(questions, ledger.rows, options)
        if pending:
            _ask(pending, ledger, options, make_row)
        return [ledger.rows[question.key] for question in questions]


def _pending(questions: Sequence[Question], known: dict[str, dict[str, Any]], options: AskOptions) -> list[Question]:
    def is_done(question: Question) -> bool:
        row = known.get(question.key)
        return row is not None and not (options.retry_errors and row["state"] == ERROR)

    return [question for question in questions if not is_done(question)]


def _ask(pending: list[Question], ledger: Ledger, options: AskOptions, make_row: MakeRow) -> None:
    model = open_model(options)
    if ledger.rows:
        say(f"resuming: {len(ledger.rows):,} outcomes are already in the ledger")
    states: Counter[str] = Counter()
    with progress_bar(f"asking {options.model}", len(pending)) as bar:

        def record(question: Question, outcome: Answer | Failure) -> None:
            row = {"key": question.key, **make_row(question, outcome)}
            if isinstance(outcome, Answer):
                row |= {
                    "answer": outcome.text,
                    "seconds": outcome.seconds,
                    "input_tokens": outcome.input_tokens,
                    "output_tokens": outcome.output_tokens,
                }
            ledger.add(row)
            states[row["state"]] += 1
            bar.advance(note=", ".join(f"{count} {state}" for state, count in states.most_common(2)))

        ask_all(model, pending, options, record)
