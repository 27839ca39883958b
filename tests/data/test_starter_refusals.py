"""What the starter set's refusals and look-alikes promise in their README."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest

from response_tuning.data.quality.contamination import EvaluationTexts
from response_tuning.data.quality.words import words
from response_tuning.data.sources.load_examples import (
    STARTER_HELD_OUT,
    STARTER_LOOK_ALIKES,
    STARTER_REFUSALS,
    load_examples,
)
from response_tuning.example import Example
from response_tuning.support.options import STARTER
from tests.conftest import SHARED_DATA

CATEGORIES = (
    "violence",
    "weapons",
    "drugs",
    "self-harm",
    "fraud",
    "hacking",
    "privacy",
    "harassment",
    "hate",
    "child-safety",
    "misinformation",
    "dangerous-advice",
)
SAFETY_SETS = ("advbench", "harmbench", "malicious_instruct", "xstest", "safety_tuned_llamas")
DECLINING = re.compile(r"\b[Ss]orry\b|\bAI\b|can't help")
SENTENCE_END = re.compile(r"[.!?][\"”)]?(?=\s|$)")
RUN = 6


@pytest.fixture(scope="module")
def refusals() -> list[Example]:
    return load_examples(STARTER_REFUSALS)


@pytest.fixture(scope="module")
def look_alikes() -> list[Example]:
    return load_examples(STARTER_LOOK_ALIKES)


def prompts(examples: list[Example]) -> list[str]:
    return [example.prompt or "" for example in examples]


def completions(examples: list[Example]) -> list[str]:
    return [example.completion for example in examples]


def extras(examples: list[Example], field: str) -> list[object]:
    return [(example.model_extra or {})[field] for example in examples]


def similarity(text: str, other: str) -> float:
    """The fraction of words that two texts have in common."""
    own, others = set(words(text)), set(words(other))
    return len(own & others) / len(own | others)


def runs(text: str, length: int = RUN) -> set[tuple[str, ...]]:
    text_words = words(text)
    return {tuple(text_words[start : start + length]) for start in range(len(text_words) - length + 1)}


def repeated(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def sentences(text: str) -> int:
    return len(SENTENCE_END.findall(text))


@pytest.mark.parametrize("name", ["refusals.jsonl", "look_alikes.jsonl"])
def test_every_row_has_the_four_fields_and_no_other(name: str) -> None:
    lines = (files("response_tuning.data.starter") / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 60
    assert {tuple(json.loads(line)) for line in lines} == {("prompt", "completion", "pair", "category")}


def test_pairs_are_numbered_from_1_to_60_in_both(refusals: list[Example], look_alikes: list[Example]) -> None:
    assert extras(refusals, "pair") == extras(look_alikes, "pair") == list(range(1, 61))


def test_twelve_categories_take_turns_in_both(refusals: list[Example], look_alikes: list[Example]) -> None:
    assert extras(refusals, "category") == extras(look_alikes, "category") == list(CATEGORIES) * 5


def test_a_look_alike_is_nearest_to_its_own_refused_request(
    refusals: list[Example], look_alikes: list[Example]
) -> None:
    for place, prompt in enumerate(prompts(look_alikes)):
        shared = [similarity(prompt, refused) for refused in prompts(refusals)]
        assert shared.index(max(shared)) == place, prompt
        assert shared[place] >= 0.2, prompt


def test_no_two_texts_are_nearly_the_same(refusals: list[Example], look_alikes: list[Example]) -> None:
    for texts in (completions(refusals) + completions(look_alikes), prompts(refusals), prompts(look_alikes)):
        too_near = [(one, other) for one, other in combinations(texts, 2) if similarity(one, other) > 0.4]
        assert too_near == []


def test_no_two_rows_of_different_pairs_share_six_words(refusals: list[Example], look_alikes: list[Example]) -> None:
    pairs = [
        set().union(*(runs(text) for text in (*prompts([one, other]), *completions([one, other]))))
        for one, other in zip(refusals, look_alikes, strict=True)
    ]
    assert [" ".join(run) for one, other in combinations(pairs, 2) for run in one & other] == []


@pytest.mark.parametrize("spec", [STARTER_REFUSALS, STARTER_LOOK_ALIKES])
def test_no_two_completions_begin_with_the_same_three_words(spec: str) -> None:
    beginnings = [words(text) for text in completions(load_examples(spec))]
    assert repeated([" ".join(beginning[:3]) for beginning in beginnings]) == []
    assert Counter(beginning[0] for beginning in beginnings).most_common(1)[0][1] <= 3


def test_unsafe_requests_are_one_short_sentence(refusals: list[Example]) -> None:
    for prompt in prompts(refusals):
        assert 8 <= len(prompt.split()) <= 30, prompt
        # Only the end may end a sentence; one request has no full stop at all.
        assert re.search(r"[.!?]\s", prompt) is None, prompt


def test_refusals_are_one_to_three_short_sentences(refusals: list[Example]) -> None:
    for completion in completions(refusals):
        assert 1 <= sentences(completion) <= 3, completion
        assert 15 <= len(completion.split()) <= 55, completion


def test_look_alikes_are_answered_in_two_to_five_sentences(look_alikes: list[Example]) -> None:
    for prompt, completion in zip(prompts(look_alikes), completions(look_alikes), strict=True):
        assert 8 <= len(prompt.split()) <= 30, prompt
        assert 2 <= sentences(completion) <= 5, completion
        assert 20 <= len(completion.split()) <= 115, completion


def test_half_of_the_refusals_and_no_answer_have_a_usual_word_of_refusal(
    refusals: list[Example], look_alikes: list[Example]
) -> None:
    assert len([text for text in completions(refusals) if DECLINING.search(text)]) == 30
    assert [text for text in completions(look_alikes) if DECLINING.search(text)] == []


def test_refusals_on_self_harm_point_to_help(refusals: list[Example]) -> None:
    for example, category in zip(refusals, extras(refusals, "category"), strict=True):
        if category == "self-harm":
            assert "emergency services" in example.completion
            assert re.search(r"trust|friend|close to you|feels safest", example.completion), example.completion


@pytest.mark.parametrize("spec", [STARTER_REFUSALS, STARTER_LOOK_ALIKES])
def test_nothing_of_the_other_starter_pairs_returns(spec: str) -> None:
    others = EvaluationTexts((STARTER_HELD_OUT,))
    trained = load_examples(STARTER)
    for example in load_examples(spec):
        assert others.find(example) is None
        assert max(similarity(example.prompt or "", prompt) for prompt in prompts(trained)) < 0.5, example.prompt


def texts_of(path: Path) -> Iterator[str]:
    """Every cell, line or JSON string of a file."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            yield from (cell for row in csv.reader(file) for cell in row)
    elif path.suffix == ".json":
        yield from strings(json.loads(path.read_text(encoding="utf-8")))
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
@pytest.mark.parametrize("folder", SAFETY_SETS)
def test_nothing_is_taken_from_a_published_safety_set(
    refusals: list[Example], look_alikes: list[Example], folder: str
) -> None:
    ours = [*refusals, *look_alikes]
    own = set().union(*(runs(text) for text in (*prompts(ours), *completions(ours))))
    theirs = {run for path in (SHARED_DATA / folder).rglob("*.*") for text in texts_of(path) for run in runs(text)}
    assert len(theirs) > 400, "the set was not read"
    assert sorted(" ".join(run) for run in own & theirs) == []
