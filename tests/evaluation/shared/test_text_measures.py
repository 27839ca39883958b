"""Copies, loops and invented turns, on the kinds of text that models produce."""

import json
from importlib.resources import files

import pytest

from response_tuning.evaluation.shared.text_measures import (
    copies,
    copy_fraction,
    invented_turn,
    loops,
    repeat_fraction,
)

INSTRUCTION = "Why do hedgehogs sleep through the winter instead of staying active?"


@pytest.mark.parametrize(
    "response",
    [
        INSTRUCTION,
        INSTRUCTION.upper(),
        f"Question: {INSTRUCTION}\n\nAnswer: Yes.",
        f"{INSTRUCTION} {INSTRUCTION} {INSTRUCTION}",
        "sleep through the winter",
    ],
)
def test_copies_of_the_instruction_are_found(response: str) -> None:
    assert copies(INSTRUCTION, response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "Food is scarce in the cold months, so they save energy.",
        "Hedgehogs sleep through the winter because beetles and worms are hard to find then, and a sleeping body "
        "needs very little food.",
        "winter",
        "staying active",
    ],
)
def test_answers_that_take_up_the_instructions_words_are_no_copies(response: str) -> None:
    assert not copies(INSTRUCTION, response)


def test_short_references_of_real_rows_are_no_copies() -> None:
    """A label, a name or a number of one or two words is often taken from its instruction."""
    text = files("response_tuning.data.starter").joinpath("train.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    labels = [
        (row["prompt"], row["completion"].split(".")[0]) for row in rows if row["kind"] in ("classify", "extract")
    ]
    short = [(prompt, label) for prompt, label in labels if len(label.split()) <= 2]
    assert len(short) >= 10
    assert not any(copies(prompt, label) for prompt, label in short)


def test_the_copy_fraction_is_that_of_words_in_copied_runs_of_three() -> None:
    assert copy_fraction("one two three four", "one two three and then more") == pytest.approx(3 / 6)
    assert copy_fraction("one two three four", "two one four three") == 0
    assert copy_fraction("anything", "") == 0


@pytest.mark.parametrize(
    "response",
    [
        "the same old line " * 6,
        "A good start to it. " + "and so on it goes " * 5,
        "abcabcabcabcabcabcabcabcabc",
        "a" * 40,
        "h a h a h a h a h a h a h a h a h a h a h a h a h a",
        "😀" * 12,
        "🙂🙃" * 12,
        "我们去吃饭" * 8,
        "\n".join(f"{number}. Bring a warm coat" for number in range(1, 8)),
        "\n".join(f"{number}. Bread" for number in range(1, 8)),
    ],
)
def test_loops_are_found_with_and_without_words(response: str) -> None:
    assert loops(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "Five.",
        "One, two, three, four, five.",
        "- take the bread\n- take the butter\n- take a knife",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "Haha, that is a good one. Ha!",
        "今天天气很好,我们打算去公园散步,然后回家做饭。",
    ],
)
def test_ordinary_text_does_not_loop(response: str) -> None:
    assert not loops(response)


def test_the_repeat_fraction_counts_runs_of_four_that_came_before() -> None:
    assert repeat_fraction("a b c d a b c d") == pytest.approx(1 - 4 / 5)


@pytest.mark.parametrize(
    "turn", ["Question: Why?", "Q: Why?", "**User:** And then?", "### Instruction\nWrite.", "<|user|>", "[INST] Go"]
)
def test_the_place_of_an_invented_turn_is_found(turn: str) -> None:
    assert invented_turn(f"They sleep.\n\n{turn}\n") == len("They sleep.\n")


@pytest.mark.parametrize(
    "response", ["They sleep.", "The question: why do they sleep? To save energy.", "Quiet, please."]
)
def test_other_texts_have_no_invented_turn(response: str) -> None:
    assert invented_turn(response) is None
