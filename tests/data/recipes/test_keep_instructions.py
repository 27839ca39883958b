"""The points between response tuning and instruction tuning."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import Conversation, encode_examples
from response_tuning.data.recipes.keep_instructions import (
    KeepInstructions,
    KeepInstructionsConfig,
    with_instructions_kept,
)
from response_tuning.data.recipes.recipe import run_recipe
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.options import Method


def ids(examples: list[Example], tokenizer: PreTrainedTokenizerBase, method: Method) -> list[list[int]]:
    conversation = Conversation(tokenizer, "tulu")
    encoded, _ = encode_examples(examples, conversation, method, max_length=1024, overlong="error")
    return [example.input_ids for example in encoded]


def test_none_kept_is_response_tuning_and_all_kept_is_instruction_tuning(
    examples: list[Example], tokenizer: PreTrainedTokenizerBase
) -> None:
    none = with_instructions_kept(examples, 0, shuffle=False, seed=0)
    every = with_instructions_kept(examples, len(examples), shuffle=False, seed=0)
    assert ids(none, tokenizer, "mixed") == ids(examples, tokenizer, "rt")
    assert ids(every, tokenizer, "mixed") == ids(examples, tokenizer, "it")


def test_k_rows_keep_their_own_and_a_larger_number_contains_the_smaller(examples: list[Example]) -> None:
    few, more = (with_instructions_kept(examples, keep, shuffle=False, seed=3) for keep in (5, 20))
    assert sum(example.prompt is not None for example in few) == 5
    for small, large, own in zip(few, more, examples, strict=True):
        assert small.completion == large.completion == own.completion
        assert small.prompt in (None, own.prompt)
        assert small.prompt is None or large.prompt == small.prompt


def test_shuffled_instructions_are_all_there_and_none_is_before_its_own_response(examples: list[Example]) -> None:
    shuffled = with_instructions_kept(examples, len(examples), shuffle=True, seed=0)
    assert sorted(example.prompt or "" for example in shuffled) == sorted(example.prompt or "" for example in examples)
    assert all(moved.prompt != own.prompt for moved, own in zip(shuffled, examples, strict=True))


def test_the_file_has_every_row_and_too_large_a_number_is_refused(tmp_path: Path, examples: list[Example]) -> None:
    source = tmp_path / "pairs.jsonl"
    turns = Example.model_validate(
        {
            "prompt": "And then?",
            "completion": "Nothing.",
            "earlier_turns": [{"role": "user", "content": "Hello"}],
            "n": 1,
        }
    )
    write_examples(source, [*examples[:4], turns, Example(completion="Alone.")])
    config = KeepInstructionsConfig(source=str(source), output=tmp_path / "out.jsonl", keep=0)
    made = run_recipe(KeepInstructions(), config)
    assert made is not None and made.states == {"with an instruction": 0, "without one": 6}
    assert read_examples(config.output)[4].model_dump(exclude_unset=True) == {"completion": "Nothing.", "n": 1}
    for wrong, reason in (({"keep": 6}, "has 5 rows"), ({"keep": 1, "shuffle": True}, "needs two")):
        with pytest.raises(UserError, match=reason):
            run_recipe(KeepInstructions(), config.model_copy(update=wrong))
