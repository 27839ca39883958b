"""A synthetic log of conversations whose feedback is known, and a model server that finds most of it."""

import random
import re
from typing import Any

__all__ = ["WANT", "feedback_log", "feedback_reply", "section_of"]

WANT = "Names a number."
TOWNS = ("Zug", "Chur", "Thun", "Visp", "Brig", "Wil", "Baar", "Olten", "Aarau", "Sion")
REACTIONS = {
    "satisfied": ("Thanks, that helps.", "Perfect, it works.", "Now it is clear."),
    "dissatisfied": ("No, give a number.", "That is wrong, give a number.", "You missed it: give a number."),
    "both": ("Thanks, but give a number.",),
    "none": ("And the weather there?", "Where is it?"),
}
MISREAD = "Thanks for nothing, give a number."
"""Irony: people label it dissatisfied, the server satisfied."""


def feedback_log(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations of one request, a response, and a reaction with its true label; some end without a reaction."""
    draw = random.Random(seed)
    log: list[dict[str, Any]] = []
    for number in range(count):
        town = f"{draw.choice(TOWNS)} {number}"
        messages = [
            {"role": "user", "content": f"How many people live in {town}?"},
            {"role": "assistant", "content": f"Quite a few people live in {town}."},
        ]
        if draw.random() < 0.9:
            label = draw.choice(["satisfied", "dissatisfied", "dissatisfied", "both", "none"])
            reaction = MISREAD if label == "dissatisfied" and draw.random() < 0.1 else draw.choice(REACTIONS[label])
            messages.append({"role": "user", "content": reaction, "feedback": label})
        log.append({"messages": messages})
    return log


def section_of(question: str, name: str) -> str:
    """What a question shows under a heading; empty without it."""
    found = re.search(rf"^==== ([0-9A-F]{{4}}) {re.escape(name)}\n(.*?)\n==== \1", question, re.MULTILINE | re.DOTALL)
    return found[2] if found else ""


def feedback_reply(question: str, _: int) -> str:
    """What the server answers to each of the asks: items, preferences, answers and verdicts."""
    codes = re.findall(r"VERDICT ([0-9A-F]{4}):", question)
    if "the user's last message" in question:
        reaction = section_of(question, "the user's last message")
        thanks = re.search(r"Thanks|Perfect|clear", reaction)
        wrong = re.search(r"give a number", reaction) and reaction != MISREAD
        names = ", ".join([*(["S1"] if thanks else []), *(["D4"] if wrong else [])])
        return f"By its words.\nVERDICT {codes[-1]}: {names or 'NONE'}"
    if "Take only what the user's own words show" in question:
        marker = question.rstrip().rpartition("\n")[2]
        return f"{marker}\n- {WANT}"
    if "Two assistants" in question:
        first, second = (bool(re.search(r"\d{4}", section_of(question, f"answer {name}"))) for name in "AB")
        choice = "TIE" if first == second or "checklist\n" not in question else "A" if first else "B"
        return f"Numbers count.\nVERDICT {codes[-1]}: {choice}"
    return "About 4000 people live there." if question.startswith("How many") else "It is by a lake."
