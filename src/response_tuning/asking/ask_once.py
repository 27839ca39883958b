"""Ask each question once: keep every outcome in a ledger, and ask only what has no outcome yet.

An outcome is keyed by the text of its question and by the model: by its fingerprint where it has one, so that a model
that was retrained is another model. Limits, addresses, filters and the number of concurrent questions are no part of
the key. What is made of an answer (a verdict, a revision) is computed from the kept answer each time.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from response_tuning.asking.ask import Answer, Ending, Failure, Question, ask_all, open_model
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import Cost, estimate_cost
from response_tuning.asking.ledger import Ledger, Record, Row, open_ledger, read_ledger
from response_tuning.example import Turn
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.support.progress import progress_bar, say, warn

if TYPE_CHECKING:
    from inspect_ai.model import Model

__all__ = [
    "ERROR",
    "REFUSED_QUESTION",
    "MakeRow",
    "ask_once",
    "failure_state",
    "forecast",
    "ledger_path",
    "outcome_of",
    "question_key",
    "stage",
]

ERROR: Final = "error after retries"
"""The state of a question that has no answer."""
REFUSED_QUESTION: Final = "refused by the server"
"""The state of a question that the server will not answer: too long, or filtered."""

MakeRow = Callable[[Question, Answer | Failure], dict[str, Any]]
"""Makes what is kept with an outcome: at least a ``state``. The question's key and the answer are added to it."""

OpenModel = Callable[[AskOptions], "Model"]
"""Opens the model to ask."""

_UNREADABLE = frozenset({"unparsed", "no marker"})
"""States of answers in which what was asked for is not found."""
_WITHHELD = "the provider withheld"
_NUMBERED = re.compile(r"(answer )?\d+:([0-9a-f]{16})")
_OWN = frozenset(
    {"key", "model", "fingerprint", "ending", "max_tokens", "answer", "seconds", "input_tokens", "output_tokens"}
)


def ledger_path(output: Path) -> Path:
    """The ledger of the questions that were asked for the file ``output``."""
    return output.with_suffix(".audit.jsonl")


def question_key(text: str, *, system: str = "", earlier_turns: Sequence[Turn] = ()) -> str:
    """Identifies a question by its text: the same question has the same answer in whichever row it stands."""
    if earlier_turns:
        parts = [system, *(part for turn in earlier_turns for part in (turn.role, turn.content)), text]
        return f"turn {hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
    digest = hashlib.sha256((system + text).encode()).hexdigest()[:16]
    return f"answer {digest}" if system else digest


def failure_state(failure: Failure) -> str:
    """The state of a question that ended in this failure."""
    return REFUSED_QUESTION if failure.is_refusal else ERROR


def forecast(
    questions: Sequence[Question],
    path: Path,
    identity: dict[str, Any],
    options: AskOptions,
    *,
    exact_limit: bool = False,
) -> Cost:
    """The cost of asking those of ``questions`` that have no outcome yet. Asks and writes nothing.

    Raises:
        UserError: the ledger was started with another identity.
    """
    record = read_ledger(path, identity)
    kept = _Kept.of(record, options, exact_limit=exact_limit)
    seconds = [row["seconds"] for rows in kept.rows.values() for row in rows if row.get("seconds")]
    return estimate_cost(kept.pending(questions), options, seconds_of_answers=seconds)


def ask_once(
    questions: Sequence[Question],
    path: Path,
    identity: dict[str, Any],
    options: AskOptions,
    make_row: MakeRow,
    *,
    exact_limit: bool = False,
    opens: OpenModel = open_model,
) -> list[Row]:
    """Ask those of ``questions`` that have no outcome yet, equal ones once; returns a row for each question.

    Failures are asked again with ``retry_errors``, unreadable answers with ``retry_unparsed``, and answers that were
    cut off where the question allows more tokens now. Whatever then comes, a better outcome is never given up: an
    answer comes before one that was cut off, and that before a failure.

    Args:
        questions: all of them, including those asked in an earlier call.
        path: the ledger.
        identity: what tells this ledger from those of other commands.
        options: which model to ask, and how.
        make_row: called for each outcome as it arrives, and for kept ones; its row is on disk before the next call.
        exact_limit: whether an answer has to be the one under exactly this limit: a longer one is no answer then, and
            one that was cut off at another limit neither.
        opens: opens the model, where there is something to ask.

    Raises:
        UserError: the model cannot be asked, or the ledger was started with another identity.
    """
    with open_ledger(path, identity) as ledger:
        kept = _Kept.of(ledger.record, options, exact_limit=exact_limit)
        pending = kept.pending(questions)
        if pending:
            answered = len({question.key for question in questions}) - len(pending)
            _ask(pending, ledger, kept, options, make_row, opens=opens, answered=answered)
        rows = [_read_again(question, kept, make_row) for question in questions]
        _write_changed(ledger, kept, questions, rows)
        return rows


def stage(
    name: str,
    questions: Sequence[Question],
    path: Path,
    identity: dict[str, Any],
    options: AskOptions,
    make_row: MakeRow,
) -> list[Row] | None:
    """One of several successive asks of a command: print its cost, ask, and say how to ask again what failed.

    Args:
        name: what is asked, for the printed lines.
        questions: all of this stage.
        path: the ledger, which several stages may share.
        identity: as ``ask_once``.
        options: as ``ask_once``. With ``dry_run`` nothing is asked.
        make_row: as ``ask_once``.

    Returns:
        A row for each question; None after a dry run in which some have no outcome yet.

    Raises:
        UserError: as ``ask_once``.
    """
    cost = forecast(questions, path, identity, options)
    say(f"{name}: {cost}")
    if options.dry_run and cost.questions:
        return None
    rows = ask_once(questions, path, identity, options, make_row)
    states = Counter(row["state"] for row in rows)
    for state, way in _WAYS.items():
        if states[state]:
            warn(f"{name}: {states[state]:,} of {len(rows):,} ended in {state!r}; re-run with {way} to ask for these.")
    return rows


_WAYS = {
    "truncated": "a larger --max-tokens",
    "unparsed": "--retry-unparsed",
    "no marker": "--retry-unparsed",
    ERROR: "--retry-errors",
    REFUSED_QUESTION: "--retry-errors",
}


def outcome_of(row: Row) -> Answer | Failure:
    """The outcome that a row was made of."""
    ending = row["ending"]
    if ending not in get_args(Ending):
        return Failure(row.get("detail", ""), is_refusal=ending == "refused")
    return Answer(row["answer"], ending, row["input_tokens"], row["output_tokens"], row["seconds"])


@dataclass
class _Kept:
    """The outcomes of one model by key, the earliest first."""

    options: AskOptions
    fingerprint: str | None
    exact_limit: bool
    rows: dict[str, list[Row]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record | None, options: AskOptions, *, exact_limit: bool) -> "_Kept":
        """Those of the model that ``options`` name."""
        kept = cls(options, model_fingerprint(options.model), exact_limit)
        for row in () if record is None else record.rows:
            kept.add(row if "ending" in row else _of_earlier_version(row, record.identity))  # type: ignore[union-attr]
        return kept

    def add(self, row: Row) -> None:
        """Add a row, unless it is of another model."""
        recorded = row.get("fingerprint")
        if recorded == self.fingerprint if recorded and self.fingerprint else row["model"] == self.options.model:
            self.rows.setdefault(row["key"], []).append(row)

    def best(self, question: Question) -> Row | None:
        """The best outcome of a question; of equally good ones, the last."""
        rows = [row for key in (question.key, *question.earlier_keys) for row in self.rows.get(key, ())]
        usable = [row for row in rows if not self.exact_limit or _is_under(row, question.max_tokens)]
        return max(reversed(usable), key=_rank, default=None)

    def pending(self, questions: Sequence[Question]) -> list[Question]:
        """The questions to ask, equal ones once."""
        different = {question.key: question for question in questions}
        return [question for question in different.values() if not self._is_done(question)]

    def _is_done(self, question: Question) -> bool:
        row = self.best(question)
        if row is None:
            return False
        if row["ending"] == "truncated":
            return row["max_tokens"] is None or question.max_tokens <= row["max_tokens"]
        if row["ending"] == "finished":
            return not (self.options.retry_unparsed and row["state"] in _UNREADABLE)
        return not self.options.retry_errors


def _rank(row: Row) -> int:
    return {"finished": 2, "truncated": 1}.get(row["ending"], 0)


def _is_under(row: Row, limit: int) -> bool:
    """Whether an outcome would be the same under exactly this limit of tokens."""
    if row["ending"] not in ("finished", "truncated") or row["max_tokens"] == limit:
        return True  # as it was asked for, even if the server counts tokens in another way
    return row["ending"] == "finished" and (row["output_tokens"] or 0) <= limit


def _of_earlier_version(row: Row, identity: dict[str, Any]) -> Row:
    """A row as it is written now. Earlier ones are keyed by their number, too, and lack the ending and the model."""
    numbered = _NUMBERED.fullmatch(row["key"])
    key = f"{numbered[1] or ''}{numbered[2]}" if numbered else row["key"]
    limit = identity.get("max_tokens")
    return {
        "seconds": 0.0,
        "input_tokens": None,
        "output_tokens": None,
        **row,
        "key": key,
        "model": identity.get("model"),
        "ending": _ending(row, limit),
        "max_tokens": limit,
    }


def _ending(row: Row, limit: int | None) -> str:
    if row["state"] == ERROR or "answer" not in row:
        return "error"
    if row["state"] in ("truncated", "filtered"):
        return str(row["state"])
    if str(row.get("detail", "")).startswith(_WITHHELD):
        return "filtered"
    # Verdicts that were cut off were kept as unparsed.
    is_cut = row["state"] == "unparsed" and limit is not None and (row.get("output_tokens") or 0) >= limit
    return "truncated" if is_cut else "finished"


def _ask(
    pending: list[Question],
    ledger: Ledger,
    kept: _Kept,
    options: AskOptions,
    make_row: MakeRow,
    *,
    opens: OpenModel,
    answered: int,
) -> None:
    model = opens(options)
    if answered:
        say(f"resuming: {answered:,} outcomes are already in the ledger")
    states: Counter[str] = Counter()
    with progress_bar(f"asking {options.model}", len(pending)) as bar:

        def record(question: Question, outcome: Answer | Failure) -> None:
            row = _row(question, outcome, kept) | make_row(question, outcome)
            ledger.add(row)
            kept.add(row)
            states[row["state"]] += 1
            bar.advance(note=", ".join(f"{count} {state}" for state, count in states.most_common(2)))

        ask_all(model, pending, options, record)


def _row(question: Question, outcome: Answer | Failure, kept: _Kept) -> Row:
    """What is kept of an outcome, whatever is made of it."""
    row: Row = {"key": question.key, "model": kept.options.model}
    if kept.fingerprint:
        row["fingerprint"] = kept.fingerprint
    if isinstance(outcome, Failure):
        return row | {"ending": "refused" if outcome.is_refusal else "error", "detail": outcome.reason}
    return row | {
        "ending": outcome.ending,
        "max_tokens": question.max_tokens,
        "answer": outcome.text,
        "seconds": outcome.seconds,
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
    }


def _read_again(question: Question, kept: _Kept, make_row: MakeRow) -> Row:
    """The row of a question, as its outcome is read with the present settings."""
    row = kept.best(question)
    assert row is not None
    return {name: value for name, value in row.items() if name in _OWN} | make_row(question, outcome_of(row))


def _write_changed(ledger: Ledger, kept: _Kept, questions: Sequence[Question], rows: Sequence[Row]) -> None:
    """Add the rows that are read otherwise than before, so that the ledger says what was made of each answer."""
    for question, row in {
        question.key: (question, row) for question, row in zip(questions, rows, strict=True)
    }.values():
        before = kept.best(question)
        if before is not None and any(before.get(name) != row.get(name) for name in row.keys() - _OWN):
            ledger.add(row)
