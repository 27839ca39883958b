"""Batches: what is in them, and that nothing is lost or repeated."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import collate, length_sorted_groups
from response_tuning.training.batches.batching import epoch_batches, micro_batches, units


def example(number: int, length: int) -> EncodedExample:
    """An example that can be told from others by its first id."""
    return EncodedExample([number, *range(2, length + 1)], prompt_length=1)


lengths = st.lists(st.integers(min_value=2, max_value=50), min_size=1, max_size=60)


def test_collate_points_at_the_position_before_each_supervised_token() -> None:
    batch = collate([EncodedExample([5, 6, 7, 8], 2), EncodedExample([9, 10], 1)])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch.predicting_positions.tolist() == [1, 2, 4]
    assert batch.targets.tolist() == [7, 8, 10]
    assert batch.rows.tolist() == [0, 0, 1]


def test_a_response_that_holds_the_padding_id_keeps_all_its_tokens() -> None:
    batch = collate([EncodedExample([5, 0, 0, 0], 1), EncodedExample([5, 1, 1, 1, 1], 1)])
    assert batch.targets[batch.rows == 0].tolist() == [0, 0, 0]


@given(lengths=lengths, batch_size=st.integers(min_value=1, max_value=9))
def test_an_epoch_holds_every_example_once_in_batches_of_the_size(lengths: list[int], batch_size: int) -> None:
    examples = [example(number, length) for number, length in enumerate(lengths)]
    batches = epoch_batches(examples, batch_size=batch_size, seed=0)
    assert sorted(item.input_ids[0] for batch in batches for item in batch) == list(range(len(examples)))
    assert sorted(len(batch) for batch in batches)[1:] == [batch_size] * (len(batches) - 1)


def test_the_same_seed_gives_the_same_batches_and_another_seed_others() -> None:
    examples = [example(number, 5 + number % 7) for number in range(40)]
    first, again, other = (epoch_batches(examples, batch_size=4, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_batches_hold_examples_of_like_length() -> None:
    examples = [example(number, 2 + number) for number in range(64)]
    torch.manual_seed(0)
    for batch in epoch_batches(examples, batch_size=8, seed=1):
        sizes = [len(item.input_ids) for item in batch]
        assert max(sizes) - min(sizes) == 7


@given(lengths=lengths, tokens=st.integers(min_value=1, max_value=120))
def test_micro_batches_hold_every_example_once_within_the_token_limit(lengths: list[int], tokens: int) -> None:
    examples = [example(number, length) for number, length in enumerate(lengths)]
    parts = [
        [example for unit in part for example in unit.examples]
        for part in micro_batches(units(examples), tokens=tokens)
    ]
    assert sorted(item.input_ids[0] for part in parts for item in part) == list(range(len(examples)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(len(item.input_ids) for item in part) <= tokens


@given(lengths=lengths)
def test_groups_name_every_example_once_shortest_first(lengths: list[int]) -> None:
    examples = [example(number, length) for number, length in enumerate(lengths)]
    order = [index for group in length_sorted_groups(examples, tokens=64) for index in group]
    assert sorted(order) == list(range(len(examples)))
    assert [lengths[index] for index in order] == sorted(lengths)
