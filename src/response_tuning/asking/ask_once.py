"""Ask what has not been asked yet, keep every outcome in a ledger, and say before how much it will be."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from response_tuning.asking.ask import Answer, Failure, Question, ask_all, open_model
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import Estimate, estimate
from response_tuning.asking.ledger import Ledger, open_ledger, read_ledger
from response_tuning.support.progress import progress_bar, say

__all__ = ["ERROR", "Judge", "ask_once", "forecast", "ledger_path", "question_key"]

ERROR: Final = "error after retries"
"""The state of a question that has no answer."""

Judge = Callable[[Question, Answer | Failure], dict[str, Any]]
"""Makes a ledger row of an outcome: at least a ``state``."""


def ledger_path(output: Path) -> Path:
    """Where the record of everything that was asked for ``output`` stands."""
    return output.with_suffix(".audit.jsonl")


def question_key(number: int, text: str) -> str:
    """Names a question by its row and its text, so that a row that was changed is asked anew."""
    return f"{number}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def forecast(questions: Sequence[Question], path: Path, identity: dict[str, Any], options: AskOptions) -> Estimate:
    """What it takes to ask those of ``questions`` that have no outcome yet. Asks and writes nothing.

    Raises:
        UserError: the ledger was begun with another identity.
    """
    known = read_ledger(path, identity) or {}
    seconds = [row["seconds"] for row in known.values() if row.get("seconds")]
    return estimate(_pending(questions, known, options), options, seconds_of_answers=seconds)


def ask_once(
    questions: Sequence[Question], path: Path, identity: dict[str, Any], options: AskOptions, judge: Judge
) -> list[dict[str, Any]]:
    """Ask those of ``questions`` that have no outcome yet; returns the ledger's row for each question.

    Args:
        questions: all of them, also those that were asked in an earlier call.
        path: the ledger.
        identity: what outcomes depend on, apart from the question itself.
        options: whom to ask, and how.
        judge: called at once for each outcome; what it returns is on the disk before the next.

    Raises:
        UserError: the model cannot be asked, or the ledger was begun with another identity.
    """
    with open_ledger(path, identity) as ledger:
        pending = _pending(questions, ledger.rows, options)
        if pending:
            _ask(pending, ledger, options, judge)
        return [ledger.rows[question.key] for question in questions]


def _pending(questions: Sequence[Question], known: dict[str, dict[str, Any]], options: AskOptions) -> list[Question]:
    def is_done(question: Question) -> bool:
        row = known.get(question.key)
        return row is not None and not (options.retry_errors and row["state"] == ERROR)

    return [question for question in questions if not is_done(question)]


def _ask(pending: list[Question], ledger: Ledger, options: AskOptions, judge: Judge) -> None:
    model = open_model(options)
    if ledger.rows:
        say(f"{len(ledger.rows):,} outcomes are known from before")
    states: Counter[str] = Counter()
    with progress_bar(f"asking {options.model}", len(pending)) as bar:

        def record(question: Question, outcome: Answer | Failure) -> None:
            row = {"key": question.key, **judge(question, outcome)}
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
