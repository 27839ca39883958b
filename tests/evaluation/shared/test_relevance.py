"""Relevance by sentence embedding, with the real embedding model."""

from response_tuning.evaluation.shared.relevance import instruction_ranks, nearest_texts
from response_tuning.example import Example


def test_reference_responses_find_their_own_instructions(examples: list[Example]) -> None:
    some = examples[:40]
    ranks = instruction_ranks([example.prompt or "" for example in some], [example.completion for example in some])
    assert sum(rank == 1 for rank in ranks) >= 0.9 * len(ranks)


def test_responses_to_other_instructions_do_not(examples: list[Example]) -> None:
    instructions = [example.prompt or "" for example in examples[:40]]
    completions = [example.completion for example in examples[:40]]
    ranks = instruction_ranks(instructions, completions[1:] + completions[:1])
    assert sum(rank == 1 for rank in ranks) <= 0.1 * len(ranks)


def test_an_empty_response_has_the_last_rank() -> None:
    assert instruction_ranks(["one", "two", "three"], ["", " ", "three"]) == [3, 3, 1]


def test_the_nearest_texts_are_about_the_same_thing_and_copies_come_last() -> None:
    texts = [
        "Bread is baked from flour and water.",
        "Mercury is the planet nearest to the sun.",
        "Bread  is baked from flour and water.",
        "A loaf needs flour, water, yeast and a hot oven.",
        "Venus is the second planet from the sun.",
    ]
    nearest = nearest_texts(texts, 4)
    assert [row[0] for row in nearest] == [3, 4, 3, 0, 1]
    assert (nearest[0][-1], nearest[2][-1]) == (2, 0)
    assert nearest_texts(texts, 1) == [row[:1] for row in nearest]
