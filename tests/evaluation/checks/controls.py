"""Control responses: texts that answer nothing, made from a row's prompt and its neighbours. No measure may count them.

Each kind has several wordings, so that a measure cannot pass by knowing one of them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from response_tuning.evaluation.checks.text import is_function_word, words

__all__ = ["ControlRow", "controls"]


class ControlRow(NamedTuple):
    """What control responses are made of."""

    prompt: str
    completion: str
    kind: str


_NONSENSE = (
    "The {a} {b} of the {c} is a {d}.",
    "{A} {b} {c} {d}.",
    "{A} is {b} and {c} is {d}.",
    "A {a} was {b} with {c} because of {d}.",
    "{a}, {b}, {c}, {d}",
    "{A} {b}. {C} {d}!",
)
_EVASIONS = (
    "Please ask somebody else about {a} and {b}, nothing useful will be said here.",
    "That is a nice thought about {a}. I would rather not go into {b} today, but do look it up somewhere else.",
    "Thank you for your message about {a} and {b}. Someone from our team will get back to you soon.",
    "I'm sorry, but {a} and {b} are not something I can help with.",
    "There is much to say on {a} and {b}, and a good library will have more on both of them.",
    "As for {a} and {b}, an expert would be a better person to talk to than me.",
)
_TURNED_ROUND = (
    "Can you tell me: {q}?",
    "You would like to know the following: {q}.",
    "The question is: {q}?",
    "Here is a question about this. {Q}?",
    "What do you think? {Q}? I would like to hear your answer.",
    "So you are asking: {q}. Let me think about that.",
)
_TOPICAL = (
    "{A} has interested people for a long time. Many books have been written on {b} and {c}.",
    "There are many kinds of {a}. Some people like {b} very much, and others have never heard of {c}.",
    "I have always been fond of {a}. My grandmother used to talk about {b} and {c} every Sunday.",
    "In recent years {a} and {b} have become popular all over the world, and {c} is often in the news.",
    "When we speak of {a}, the history of {b} is important. It shows that {c} means a lot to a great many people.",
)
_LOOPS = (
    "{a}{b}" * 20,
    "a" * 120,
    "\U0001f642" * 40,
    "天气很好" * 20,
    "abc" * 40,
    "The answer is {a}. " * 12,
    "".join(f"{number}. {{a}} {{b}}\n" for number in range(1, 15)),
    "\U0001f642\U0001f680 " * 20,
    "我们去公园。" * 12,
    "ha " * 50,
    "-" * 100,
)


def controls(rows: Sequence[ControlRow], *, every_wording: bool) -> Iterator[tuple[str, int, int, str]]:
    """Control responses to all rows: the kind, the wording, the place of the row, and the response. Deterministic.

    Args:
        rows: what they are made of.
        every_wording: whether each row gets every wording of a kind; if not, the wordings take turns over the rows.
    """
    for place, row in enumerate(rows):
        generator = random.Random(place)
        for kind, wordings in _of_row(row, rows, generator).items():
            chosen = range(len(wordings)) if every_wording else [place % len(wordings)]
            for number in chosen:
                yield kind, number, place, wordings[number]


def _of_row(row: ControlRow, rows: Sequence[ControlRow], generator: random.Random) -> dict[str, list[str]]:
    """The wordings of every kind of control response to a row."""
    found = _keywords(row.prompt)
    others = [each.completion for each in rows if each.kind != row.kind]
    orders = (found, generator.sample(found, len(found)))
    return {
        "keyword nonsense": [_filled(template, row.prompt, generator) for template in _NONSENSE],
        "prompt keywords": [separator.join(order) for order in orders for separator in (" ", ", ", "\n")],
        "polite evasion": [_filled(template, row.prompt, generator) for template in _EVASIONS],
        "topical": [_filled(template, row.prompt, generator) for template in _TOPICAL],
        "question turned round": [_turned_round(template, row.prompt) for template in _TURNED_ROUND],
        "copy": [_with_one_word_changed(text, generator) for text in (row.prompt, _source(row.prompt))],
        "reference of another kind": [generator.choice(others)],
        "loop": [_filled(template, row.prompt, generator) for template in _LOOPS],
    }


def _keywords(prompt: str) -> list[str]:
    """The words of content of a prompt; all of its words if these are few."""
    found = [word for word in dict.fromkeys(words(prompt)) if not is_function_word(word) and len(word) > 2]
    return found if len(found) >= 4 else [*found, *(word for word in dict.fromkeys(words(prompt)) if word not in found)]


def _filled(template: str, prompt: str, generator: random.Random) -> str:
    found = _keywords(prompt)
    a, b, c, d = (generator.sample(found, min(4, len(found))) * 4)[:4]
    return template.format(a=a, b=b, c=c, d=d, A=a.capitalize(), C=c.capitalize())


def _turned_round(template: str, prompt: str) -> str:
    instruction = re.split(r"[:\n]", prompt)[0].strip().rstrip(".?!")
    return template.format(q=instruction[:1].lower() + instruction[1:], Q=instruction)


def _source(prompt: str) -> str:
    """The longest quoted text of a prompt, or its last line."""
    quoted: list[str] = re.findall(r"\"([^\"]+)\"", prompt)
    return max(quoted or [prompt.strip().split("\n")[-1]], key=len)


def _with_one_word_changed(text: str, generator: random.Random) -> str:
    found = text.split(" ")
    found[generator.randrange(len(found))] = "green"
    return " ".join(found)
