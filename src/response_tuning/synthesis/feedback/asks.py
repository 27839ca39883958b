"""The four asks of ``rt data feedback``: the question of each, and how its answer is read.

Source: Shi et al. 2024 (arXiv 2408.15549): feedback is found utterance by utterance, summarised as preferences, and
used to make a pair; a judge with the preferences as a checklist decides whether the pair is kept. All words are ours.
"""

import re
from collections.abc import Sequence
from typing import Any

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import question_key
from response_tuning.asking.verdict import verdict_code
from response_tuning.example import Turn
from response_tuning.synthesis.feedback.feedback_config import FeedbackConfig
from response_tuning.synthesis.feedback.items import Items
from response_tuning.synthesis.feedback.logs import Reply
from response_tuning.synthesis.outcomes import READ, verdict_row, without_text
from response_tuning.synthesis.request import fill_template, question_of, read_template
from response_tuning.synthesis.revision import find_revision, marker_for

__all__ = [
    "answer_question",
    "check_questions",
    "checklist_code",
    "conversation_text",
    "label_question",
    "label_row",
    "parse_choice",
    "preference_question",
    "preference_row",
    "system_of",
]

NO_PREFERENCE = "no preference"

_PACKAGE = "feedback"
_LABEL_CHARACTERS = 200
_PREFERENCE_CHARACTERS = 400
_MOST_AFTER = 4
_LINE = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_SCORES = {"A": 1.0, "B": 0.0, "TIE": 0.5}


def label_question(reply: Reply, items: Items, config: FeedbackConfig) -> Question:
    """Which items apply to what the user said after a response."""
    turns = reply.log.turns[: reply.position + 1]
    shown = [*(turn.content for turn in turns), reply.after[0].content, *items.all.values()]
    text = fill_template(
        _template("label"),
        code=verdict_code(["label", *shown]),
        items=items.all,
        turns=turns,
        reaction=reply.after[0].content,
    )
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_LABEL_CHARACTERS)


def label_row(question: Question, answer: Answer | Failure, items: Items) -> dict[str, Any]:
    """The names of the items that apply."""
    row = verdict_row(question, answer)
    if row["state"] != READ:
        return row
    names = items.parse(row["verdict"])
    return {"state": "unparsed"} if names is None else {"state": READ, "items": names}


def preference_question(reply: Reply, config: FeedbackConfig) -> Question:
    """What the user wanted of an answer, in short lines."""
    after = reply.after[:_MOST_AFTER]
    shown = [*(turn.content for turn in (*reply.earlier_turns, *after)), reply.prompt, reply.completion]
    text = fill_template(
        _template("preferences"),
        code=verdict_code(["preferences", *shown]),
        marker=marker_for(*shown),
        turns=reply.earlier_turns,
        prompt=reply.prompt,
        completion=reply.completion,
        after=after,
        most=config.most_preferences,
    )
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_PREFERENCE_CHARACTERS)


def preference_row(answer: Answer | Failure, reply: Reply, *, most: int) -> dict[str, Any]:
    """The lines of the user's preferences."""
    if not isinstance(answer, Answer) or answer.ending != "finished":
        return without_text(answer)
    after = reply.after[:_MOST_AFTER]
    shown = [*(turn.content for turn in (*reply.earlier_turns, *after)), reply.prompt, reply.completion]
    found = find_revision(answer.text, original="", marker=marker_for(*shown))
    if found is None:
        return {"state": "no marker"}
    lines = _LINE.findall(found)
    if not lines or [line.strip(" .*_").upper() for line in lines] == ["NONE"]:
        return {"state": NO_PREFERENCE}
    return {"state": READ, "preferences": lines[:most]}


def system_of(preferences: Sequence[str]) -> str:
    """The system prompt under which the better answer is written: the preferences, and a line on safety."""
    return fill_template(_template("answer_system"), preferences=preferences).strip()


def answer_question(reply: Reply, system: str | None, config: FeedbackConfig) -> Question:
    """The request itself, with the conversation before it as messages."""
    return Question(
        key=question_key(reply.prompt, system=system or "", earlier_turns=reply.earlier_turns),
        text=reply.prompt,
        system=system,
        earlier_turns=reply.earlier_turns,
        max_tokens=config.max_tokens,
        expected_characters=len(reply.completion),
    )


def check_questions(
    reply: Reply, preferences: Sequence[str], chosen: str, rejected: str, config: FeedbackConfig
) -> list[Question]:
    """Which of two answers is better by the checklist: with the chosen one first, then with the rejected one first."""
    return [_check(reply, preferences, *order, config) for order in ((chosen, rejected), (rejected, chosen))]


def _check(reply: Reply, preferences: Sequence[str], first: str, second: str, config: FeedbackConfig) -> Question:
    texts = {
        "conversation": conversation_text(reply.earlier_turns),
        "prompt": reply.prompt,
        "preferences": "\n".join(f"- {line}" for line in preferences),
        "first": first,
        "second": second,
    }
    text = fill_template(_template("checklist"), code=checklist_code(texts), **texts)
    return question_of(text, max_tokens=config.max_tokens, expected_characters=_PREFERENCE_CHARACTERS)


def checklist_code(texts: dict[str, str]) -> str:
    """The nonce of a checklist question."""
    return verdict_code(["checklist", *texts.values()])


def conversation_text(turns: Sequence[Turn]) -> str:
    """Turns as one text for a judge to read; empty without any."""
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def check_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
    """The verdict on two answers: 1 for the first, 0 for the second, 0.5 for a tie."""
    row = verdict_row(question, answer)
    choice = parse_choice(row.get("verdict", ""))
    if row["state"] != READ:
        return row
    return {"state": "unparsed"} if choice is None else {"state": READ, "score": _SCORES[choice]}


def parse_choice(verdict: str) -> str | None:
    """A, B or TIE; None for anything else."""
    return verdict.upper() if verdict.upper() in _SCORES else None


def _template(name: str) -> str:
    return read_template(f"{_PACKAGE}/{name}.txt")
