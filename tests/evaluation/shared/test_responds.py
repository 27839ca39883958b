"""Whether a response does what was asked: control responses must not count, and labels give the known agreement."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.agreement.agreement import verdict_agreement
from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.evaluation.checks.text import content_words
from response_tuning.evaluation.shared.forms import other_forms
from response_tuning.evaluation.shared.known_agreement import (
    KNOWN_AGREEMENT,
    agreement_facts,
    describe_agreement,
    is_symptom,
)
from response_tuning.evaluation.shared.responds import reasons_against, responds

Rows = list[dict[str, Any]]


def starter(name: str) -> Rows:
    text = files("response_tuning.data.starter").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


SETS = {"held-out": starter("held_out.jsonl"), "test": starter("test.jsonl")}
DRAWN = random.Random(0)
MOST_COUNTED = 0.05


def some_words(prompt: str, count: int) -> list[str]:
    named = [word for word in dict.fromkeys(content_words(prompt)) if word.isalpha()]
    return (DRAWN.sample(named, min(count, len(named))) * count)[:count]


def turned_round(prompt: str) -> str:
    return f"What would you say yourself: {prompt[0].lower()}{prompt[1:].rstrip('.?')}?"


def with_one_word_changed(prompt: str) -> str:
    given = prompt.split()
    given[DRAWN.randrange(len(given))] = "table"
    return " ".join(given)


EVASION = "Please ask somebody else about {} and {}, nothing useful will be said here."
CONTROLS: Mapping[str, Callable[[Rows, int], str]] = {
    "four prompt words": lambda rows, place: " ".join(some_words(rows[place]["prompt"], 4)),
    "an evasion": lambda rows, place: EVASION.format(*some_words(rows[place]["prompt"], 2)),
    "the next row's reference": lambda rows, place: str(rows[(place + 1) % len(rows)]["completion"]),
    "a reference of the same kind": lambda rows, place: str(rows[(place + 16) % len(rows)]["completion"]),
    "the question turned round": lambda rows, place: turned_round(rows[place]["prompt"]),
    "the prompt with a word changed": lambda rows, place: with_one_word_changed(rows[place]["prompt"]),
    "a loop without spaces": lambda rows, place: some_words(rows[place]["prompt"], 1)[0] * 25,
    "a loop of the reference": lambda rows, place: rows[place]["completion"].split(". ")[0] + ". And so on." * 15,
}
TEXTS = {"letters": "a" * 60, "emoji": "😀🙂" * 20, "Chinese": "我们去吃饭" * 12}


def counted(rows: Rows, responses: Sequence[str]) -> float:
    verdicts = responds([row["prompt"] for row in rows], responses, [row["completion"] for row in rows])
    return sum(bool(verdict) for verdict in verdicts) / len(rows)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("name", SETS)
def test_control_responses_count_in_at_most_five_percent(name: str, control: str) -> None:
    rows = SETS[name]
    assert counted(rows, [CONTROLS[control](rows, place) for place in range(len(rows))]) <= MOST_COUNTED


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_loops_of_characters_never_count(text: str) -> None:
    assert counted(SETS["held-out"], [text] * 80) == 0


@pytest.mark.parametrize("name", SETS)
def test_references_and_their_first_sentences_count(name: str) -> None:
    rows = SETS[name]
    whole = [not reasons_against(row["prompt"], row["completion"], row["completion"]) for row in rows]
    assert sum(whole) >= 0.98 * len(rows)
    some = rows[:40]
    assert counted(some, [row["completion"].split(". ")[0] + "." for row in some]) >= 0.9


def test_without_a_reference_there_is_no_verdict() -> None:
    assert responds(["Name a river."], ["The Rhine."], [None]) == [None]
    assert responds([], [], []) == []


LETTER = "Dear Ms Hall,\n\nMy parcel has not come yet. Could you look into it?\n\nKind regards,\nTom Reed"


@pytest.mark.parametrize(
    ("prompt", "response", "reference", "form"),
    [
        ("Add two numbers in Python.", "Addition joins two numbers.", "def add(a, b):\n    return a + b", "no code"),
        ("Email the shop.", "You could email the shop.", LETTER, "letter"),
        ("Why is the sky blue?", LETTER, "Air scatters blue light more than red light.", "letter"),
        ("Email the shop.", "Dear Tom,\n\nYour parcel is here.\n\nRegards,\nMs Hall", LETTER, "letter to its writer"),
        ("Be a pirate at lunch.", "Pirates ate hard bread.", "I want my lunch, and I want my rum with it!", "voice"),
        (
            "Why is ice slippery?",
            "2 x 3 = 6 and 6 / 2 = 3.",
            "A thin layer on top of it is nearly liquid.",
            "calculation",
        ),
        ("How many legs has a spider?", "Spiders have legs.", "A spider has eight legs.", "no number"),
        ("Is a rose a tree, shrub or herb?", "It smells well.", "Shrub, as its stems are woody.", "no label"),
        ("Let a cat and a dog talk.", "They are both pets.", "Cat: Off the chair.\nDog: Whose chair?", "no dialogue"),
    ],
)
def test_a_response_of_another_form_is_named(prompt: str, response: str, reference: str, form: str) -> None:
    assert other_forms(prompt, response, reference) == [form]
    assert other_forms(prompt, reference, reference) == []


def test_what_agrees_too_little_with_labels_is_a_symptom() -> None:
    assert all(is_symptom(measure) == (known.kappa.value < 0.6) for measure, known in KNOWN_AGREEMENT.items())
    assert not is_symptom("a measure without labels")
    facts = agreement_facts(["ranks", "loops"])
    assert list(facts) == ["loops"]
    assert facts["loops"]["is_symptom"]
    assert describe_agreement("loops").startswith("not loops: kappa 0.30 (0.18 to 0.43) with 219 labels")


@pytest.mark.parametrize("measure", KNOWN_AGREEMENT)
def test_the_known_agreement_is_what_the_labels_give(measure: str) -> None:
    """Within 0.03: rules for rows with checks are shared, and are refined."""
    known = KNOWN_AGREEMENT[measure]
    swapped = ("yes=no", "no=yes") if known.negated else ()
    config = AgreementConfig(data=Path("calibration"), measure=measure, label_field=known.label, map_label=swapped)
    measured = verdict_agreement(config)[0].kappa
    assert measured is not None
    assert measured.n == known.kappa.n
    assert measured.value == pytest.approx(known.kappa.value, abs=0.03)
    assert measured.low == pytest.approx(known.kappa.low, abs=0.05)
