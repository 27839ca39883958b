"""What the starter set promises in its README."""

import re
from collections import Counter

import pytest

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.example import Example
from response_tuning.support.options import STARTER


@pytest.fixture(scope="module")
def training() -> list[Example]:
    return load_examples(STARTER)


@pytest.fixture(scope="module")
def held_out() -> list[Example]:
    return load_examples(STARTER_HELD_OUT)


def first_words(text: str, count: int = 8) -> str:
    return " ".join(re.findall(r"\w+", text.lower())[:count])


def test_there_are_320_training_and_80_held_out_pairs(training: list[Example], held_out: list[Example]) -> None:
    assert (len(training), len(held_out)) == (320, 80)


def test_sixteen_kinds_of_request_are_equally_frequent(training: list[Example], held_out: list[Example]) -> None:
    for examples, each in ((training, 20), (held_out, 5)):
        kinds = Counter((example.model_extra or {})["kind"] for example in examples)
        assert len(kinds) == 16
        assert set(kinds.values()) == {each}


@pytest.mark.parametrize("field", ["prompt", "completion"])
def test_no_two_pairs_share_their_first_eight_words(
    training: list[Example], held_out: list[Example], field: str
) -> None:
    openings = Counter(first_words(getattr(example, field)) for example in training + held_out)
    assert [opening for opening, count in openings.items() if count > 1] == []


def test_held_out_and_training_prompts_differ(training: list[Example], held_out: list[Example]) -> None:
    words = [set(re.findall(r"\w+", (example.prompt or "").lower())) for example in training]
    for example in held_out:
        own = set(re.findall(r"\w+", (example.prompt or "").lower()))
        nearest = max(len(own & other) / len(own | other) for other in words)
        assert nearest < 0.5, example.prompt


def test_responses_have_20_to_90_words(training: list[Example], held_out: list[Example]) -> None:
    lengths = [len(example.completion.split()) for example in training + held_out]
    assert 20 <= min(lengths) <= max(lengths) <= 90


def test_responses_open_in_many_ways(training: list[Example]) -> None:
    openings = Counter(first_words(example.completion, 1) for example in training)
    assert openings.most_common(1)[0][1] <= len(training) * 0.05
