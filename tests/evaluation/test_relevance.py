"""Relevance by sentence embedding, with the real embedding model."""

from response_tuning.data.example import Example
from response_tuning.evaluation.relevance import instruction_ranks


def test_reference_responses_find_their_own_instructions(examples: list[Example]) -> None:
    instructions = [example.prompt or "" for example in examples]
    ranks = instruction_ranks(instructions, [example.completion for example in examples])
    assert sum(rank == 1 for rank in ranks) >= 0.9 * len(ranks)


def test_responses_to_other_instructions_do_not(examples: list[Example]) -> None:
    instructions = [example.prompt or "" for example in examples]
    completions = [example.completion for example in examples]
    ranks = instruction_ranks(instructions, completions[1:] + completions[:1])
    assert sum(rank == 1 for rank in ranks) <= 0.1 * len(ranks)


def test_an_empty_response_has_the_last_rank() -> None:
    assert instruction_ranks(["one", "two", "three"], ["", " ", "three"]) == [3, 3, 1]
