"""Echoes and loops, on the kinds of text that models produce."""

import pytest

from response_tuning.evaluation.shared.text_measures import echo_fraction, echoes, repeat_fraction, repeats

INSTRUCTION = "Why do hedgehogs sleep through the winter instead of staying active?"


@pytest.mark.parametrize(
    "response",
    [
        INSTRUCTION,
        INSTRUCTION.upper(),
        f"Question: {INSTRUCTION}\n\nAnswer: Yes.",
        f"{INSTRUCTION} {INSTRUCTION} {INSTRUCTION}",
        "staying active",
    ],
)
def test_copies_of_the_instruction_echo(response: str) -> None:
    assert echoes(INSTRUCTION, response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        "Food is scarce in the cold months, so they save energy.",
        "Hedgehogs sleep through the winter because beetles and worms are hard to find then, and a sleeping body "
        "needs very little food.",
    ],
)
def test_answers_that_take_up_the_instructions_words_do_not_echo(response: str) -> None:
    assert not echoes(INSTRUCTION, response)


def test_the_echo_fraction_is_that_of_copied_words() -> None:
    assert echo_fraction("one two three four", "one two three and then more") == pytest.approx(3 / 6)
    assert echo_fraction("one two three four", "two one four three") == 0
    assert echo_fraction("anything", "") == 0


@pytest.mark.parametrize("response", ["the same old line " * 6, "A good start to it. " + "and so on it goes " * 5])
def test_loops_repeat(response: str) -> None:
    assert repeats(response)


@pytest.mark.parametrize(
    "response", ["", "Five.", "One, two, three, four, five.", "- take the bread\n- take the butter\n- take a knife"]
)
def test_ordinary_text_does_not_repeat(response: str) -> None:
    assert not repeats(response)


def test_the_repeat_fraction_counts_runs_of_four_that_came_before() -> None:
    assert repeat_fraction("a b c d a b c d") == pytest.approx(1 - 4 / 5)
