"""``rt data feedback``: preference pairs, and preferred responses, from logged conversations.

    logs --> replies --> labels of the user's reactions --> preferences --> a pair of answers --> checklist --> pairs

Each reply of the assistant ends in exactly one state, and every answer of a model is in the ledger beside the output.
Source: Shi et al. 2024, "WildFeedback" (arXiv 2408.15549).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from response_tuning.asking.ask_once import ledger_path
from response_tuning.asking.ledger import Row
from response_tuning.data.quality.personal_data import finder_of
from response_tuning.example import Example, check_no_input, check_output, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.synthesis.feedback.asks import (
    answer_question,
    check_questions,
    check_row,
    label_question,
    label_row,
    preference_question,
    preference_row,
    system_of,
)
from response_tuning.synthesis.feedback.feedback_config import FeedbackConfig
from response_tuning.synthesis.feedback.items import Items, read_items
from response_tuning.synthesis.feedback.logs import Log, Reply, Satisfaction, read_logs, replies_of
from response_tuning.synthesis.outcomes import READ, WRITTEN, text_row
from response_tuning.synthesis.stages import Stages, still_open

__all__ = ["DISSATISFIED", "NO_FEEDBACK", "PAIR", "SATISFIED", "Feedback", "make_feedback"]

PAIR = "pair"
SATISFIED = "satisfied, no pair"
DISSATISFIED = "dissatisfied"
NO_FEEDBACK = "no feedback"
LAST = "last response, no reaction"

_IDENTITY = {"command": "feedback"}


@dataclass(frozen=True)
class Feedback:
    """The result of ``rt data feedback``."""

    states: dict[str, int]
    """Replies by state, most frequent first; each is in one. Empty after a dry run."""
    labelled: dict[str, list[tuple[bool, bool]]] = field(default_factory=dict)
    """Pairs of the model's label and a person's, for "satisfied" and "dissatisfied"; of readable labels alone."""
    unreadable_labels: int = 0
    """Labelled messages on which the model gave no readable label."""
    pairs: int = 0
    """Pairs written."""
    responses: int = 0
    """Preferred responses written."""


@dataclass(frozen=True)
class _Labels:
    """The model's labels beside people's, for "satisfied" and "dissatisfied"."""

    pairs: dict[str, list[tuple[bool, bool]]] = field(default_factory=dict)
    unreadable: int = 0


@dataclass
class _Work:
    """What is known of one reply."""

    reply: Reply
    state: str = ""
    """Empty as long as the next ask is open."""
    feeling: Satisfaction | None = None
    items: list[str] = field(default_factory=list)
    preferences: list[str] = field(default_factory=list)
    chosen: str = ""
    rejected: str = ""


def make_feedback(config: FeedbackConfig) -> Feedback | None:
    """Make pairs of every reply that drew feedback; resumes an earlier call that was interrupted.

    Returns:
        Counts; None after a dry run.

    Raises:
        UserError: the logs cannot be read, a model cannot be asked, or options contradict each other.
    """
    _require_whole(config)
    items = read_items(config.items)
    asks = _Asks(config, items)
    works = [_Work(reply) for reply in replies_of(read_logs(config.source))]
    _drop_unusable(works, config)
    measured = asks.measure_labels() if config.labels else _Labels()
    if measured is None:
        return None
    steps = (asks.label, asks.find_preferences, asks.write_answers, asks.check)
    for number, step in enumerate(steps, start=1):
        if not step(works):
            say(f"then {len(steps) - number} more asks, for at most {len(still_open(works)):,} replies")
            return None
    return _written(works, config, measured)


def _require_whole(config: FeedbackConfig) -> None:
    check_output(config.output, config.source, config.labels)
    if config.responses is not None:
        check_output(config.responses, config.source, config.labels)
        if config.responses.absolute() == config.output.absolute():
            raise UserError("--responses and --output are one file. Choose another name for one of them.")
    if config.items is not None:
        check_no_input(config.output, config.items, option="--output")
    if config.variant == "on-policy" and config.policy is None:
        raise UserError("--variant on-policy needs --policy, the model to be tuned, such as a run.")
    if config.variant == "expert" and config.policy is not None:
        raise UserError("--policy is for --variant on-policy: the expert variant asks --model alone.")
    if config.neutral_responses and config.responses is None:
        raise UserError("--neutral-responses needs --responses, the file to write them to.")


def _drop_unusable(works: Sequence[_Work], config: FeedbackConfig) -> None:
    """Decide the state of replies in conversations that nobody should learn from, and of those without a reaction."""
    find = finder_of(config.personal_data)
    problems: dict[int, str | None] = {}
    for work in works:
        log = work.reply.log
        if id(log) not in problems:
            problems[id(log)] = log.problem or _personal(log, find)
        if problems[id(log)]:
            work.state = f"left out, {problems[id(log)]}"
        elif not work.reply.after:
            work.state = LAST


def _personal(log: Log, find: Callable[[str], list[str]]) -> str | None:
    return "personal data" if any(find(turn.content) for turn in log.turns) else None


class _Asks:
    """The asks in turn; each decides the state of the replies that go no further."""

    def __init__(self, config: FeedbackConfig, items: Items) -> None:
        self._config = config
        self._items = items
        self._stages = Stages(ledger_path(config.output), _IDENTITY, config)

    def measure_labels(self) -> _Labels | None:
        """Label what people labelled, for ``--labels``; None after a dry run with open questions."""
        assert self._config.labels is not None
        replies = [reply for reply in replies_of(read_logs(self._config.labels)) if reply.label is not None]
        if not replies:
            raise UserError(
                f"{self._config.labels} has no labels: give users' messages a field 'feedback', which is satisfied, "
                "dissatisfied, both or none."
            )
        rows = self._ask_labels("labelled by people", replies)
        if rows is None:
            return None
        pairs: dict[str, list[tuple[bool, bool]]] = {"satisfied": [], "dissatisfied": []}
        for reply, row in zip(replies, rows, strict=True):
            if row["state"] == READ and reply.label is not None:
                found = self._feeling(row["items"])
                pairs["satisfied"].append((found.satisfied, reply.label.satisfied))
                pairs["dissatisfied"].append((found.dissatisfied, reply.label.dissatisfied))
        return _Labels(pairs, sum(row["state"] != READ for row in rows))

    def label(self, works: Sequence[_Work]) -> bool:
        """Which reactions praise or criticise; False after a dry run with open questions."""
        known = [work for work in still_open(works) if self._config.trust_labels and work.reply.label is not None]
        for work in known:
            self._take(work, work.reply.label)
        asked = [work for work in still_open(works) if work.feeling is None]
        rows = self._ask_labels("labels", [work.reply for work in asked])
        if rows is None:
            return False
        for work, row in zip(asked, rows, strict=True):
            if row["state"] == READ:
                work.items = row["items"]
                self._take(work, self._feeling(row["items"]))
            else:
                work.state = f"left out, label: {row['state']}"
        return True

    def find_preferences(self, works: Sequence[_Work]) -> bool:
        """What the users wanted."""
        most = self._config.most_preferences
        asked = still_open(works)
        questions = [preference_question(work.reply, self._config) for work in asked]
        replies = {question.key: work.reply for question, work in zip(questions, asked, strict=True)}
        rows = self._stages.ask(
            "preferences", questions, lambda question, answer: preference_row(answer, replies[question.key], most=most)
        )
        if rows is None:
            return False
        for work, row in zip(asked, rows, strict=True):
            if row["state"] == READ:
                work.preferences = row["preferences"]
            else:
                work.state = f"left out, preferences: {row['state']}"
        return True

    def write_answers(self, works: Sequence[_Work]) -> bool:
        """The two answers of each pair."""
        config = self._config
        better = self._ask_answers("better answers", still_open(works), with_preferences=True)
        if better is None:
            return False
        for work, text in better:
            work.chosen, work.rejected = text, work.reply.completion.strip()
        if config.policy is not None:
            plain = self._ask_answers("answers without preferences", still_open(works), with_preferences=False)
            if plain is None:
                return False
            for work, text in plain:
                work.rejected = text
        for work in still_open(works):
            if work.chosen == work.rejected:
                work.state = "left out, same answer twice"
        return True

    def check(self, works: Sequence[_Work]) -> bool:
        """Whether the chosen answer is the better one by the checklist, over both orders."""
        config = self._config
        asked = still_open(works)
        questions = [
            question
            for work in asked
            for question in check_questions(work.reply, work.preferences, work.chosen, work.rejected, config)
        ]
        rows = self._stages.ask("checks, both orders", questions, check_row, model=config.judge)
        if rows is None:
            return False
        for work, first, second in zip(asked, rows[::2], rows[1::2], strict=True):
            failed = next((row["state"] for row in (first, second) if row["state"] != READ), None)
            if failed:
                work.state = f"left out, check: {failed}"
            else:
                is_better = (first["score"] + 1 - second["score"]) / 2 > 0.5
                work.state = PAIR if is_better else "left out, check: not preferred"
        return True

    def _ask_labels(self, name: str, replies: Sequence[Reply]) -> list[Row] | None:
        reacted = [reply for reply in replies if reply.after]
        questions = [label_question(reply, self._items, self._config) for reply in reacted]
        return self._stages.ask(name, questions, lambda question, answer: label_row(question, answer, self._items))

    def _ask_answers(
        self, name: str, works: Sequence[_Work], *, with_preferences: bool
    ) -> list[tuple[_Work, str]] | None:
        """Each work with its answer; those without one get their state."""
        questions = [
            answer_question(work.reply, system_of(work.preferences) if with_preferences else None, self._config)
            for work in works
        ]
        rows = self._stages.ask(name, questions, text_row, model=self._config.policy)
        if rows is None:
            return None
        written: list[tuple[_Work, str]] = []
        for work, row in zip(works, rows, strict=True):
            if row["state"] == WRITTEN:
                written.append((work, row["text"]))
            else:
                work.state = f"left out, answer: {row['state']}"
        return written

    def _feeling(self, names: Sequence[str]) -> Satisfaction:
        return Satisfaction(self._items.any_of(names, "satisfaction"), self._items.any_of(names, "dissatisfaction"))

    def _take(self, work: _Work, feeling: Satisfaction | None) -> None:
        assert feeling is not None
        work.feeling = feeling
        if feeling == Satisfaction(False, False):
            work.state = NO_FEEDBACK
        elif not feeling.dissatisfied and self._config.variant == "expert":
            work.state = SATISFIED


def _written(
    works: Sequence[_Work],
    config: FeedbackConfig,
    labels: _Labels,
) -> Feedback:
    """Write pairs and responses, and count the states."""
    pairs = [_pair(work, config) for work in works if work.state == PAIR]
    write_examples(config.output, pairs)
    responses = _preferred(works, config) if config.responses is not None else []
    if config.responses is not None:
        write_examples(config.responses, responses)
    states = Counter(work.state for work in works)
    return Feedback(dict(states.most_common()), labels.pairs, labels.unreadable, len(pairs), len(responses))


def _pair(work: _Work, config: FeedbackConfig) -> Example:
    return _example(
        work.reply,
        work.chosen,
        {
            "rejected": work.rejected,
            "preferences": work.preferences,
            "feedback": work.items,
            "variant": config.variant,
        },
    )


def _preferred(works: Sequence[_Work], config: FeedbackConfig) -> list[Example]:
    """Responses to learn from: those that satisfied, and chosen ones; none that drew dissatisfaction."""
    kept: list[Example] = []
    for work in works:
        is_good = work.feeling is not None and work.feeling.satisfied and not work.feeling.dissatisfied
        is_neutral = config.neutral_responses and work.state in (NO_FEEDBACK, LAST)
        if is_good or is_neutral:
            kept.append(_example(work.reply, work.reply.completion, {"kind": "satisfied" if is_good else "neutral"}))
        elif work.state == PAIR:
            kept.append(_example(work.reply, work.chosen, {"kind": "chosen"}))
    return kept


def _example(reply: Reply, completion: str, others: Mapping[str, Any]) -> Example:
    fields: dict[str, Any] = {"prompt": reply.prompt, "completion": completion}
    if reply.earlier_turns:
        fields["earlier_turns"] = [turn.model_dump() for turn in reply.earlier_turns]
    return Example.model_validate({**fields, **others, "source": reply.log.place})
