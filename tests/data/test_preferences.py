"""Public preference sets are read as they are published, from a file to the pair that is trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.preferences import is_desirable, paired
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example
from response_tuning.support.errors import UserError


def read(tmp_path: Path, *rows: dict[str, Any], verdicts: bool = False) -> list[Example]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_examples(str(path), verdicts=verdicts)


def chat(*contents: str) -> list[dict[str, str]]:
    return [
        {"content": content, "role": "assistant" if place % 2 else "user"} for place, content in enumerate(contents)
    ]


HUMAN = {"from": "human", "value": "Why?"}
ULTRAFEEDBACK = {"prompt": "Why?", "prompt_id": "f0", "score_chosen": 8.5, "score_rejected": 4.0}
RATED = [
    {"model": "a", "response": "Middling.", "overall_score": 6.0, "fine-grained_score": 4.0},
    {"model": "b", "response": "Good.", "overall_score": 5.0, "fine-grained_score": 4.75},
    {"model": "c", "response": "Bad.", "overall_score": 7.5, "fine-grained_score": 1.5},
]
RATED_ASPECTS = [
    {"response": "Bad.", "annotations": {"honesty": {"Rating": "1"}, "truthfulness": {"Rating": "2"}}},
    {"response": "Good.", "annotations": {"honesty": {"Rating": "5"}, "truthfulness": {"Rating": "N/A"}}},
]


@pytest.mark.parametrize(
    "row",
    [
        # WildFeedback
        {
            "conversations": [HUMAN],
            "chosen": {"from": "gpt", "value": "Good."},
            "rejected": {"from": "gpt", "value": "Bad."},
        },
        # UltraFeedback, binarized: with a copy of the chosen conversation
        {
            **ULTRAFEEDBACK,
            "chosen": chat("Why?", "Good."),
            "rejected": chat("Why?", "Bad."),
            "messages": chat("Why?", "Good."),
        },
        {**ULTRAFEEDBACK, "chosen": chat("Why?", "Good."), "rejected": chat("Why?", "Bad.")},
        # UltraFeedback, as it was published first
        {"source": "evol_instruct", "instruction": "Why?", "models": [], "completions": RATED},
        {"source": "flan", "instruction": "Why?", "models": [], "completions": RATED_ASPECTS},
        # HH-RLHF
        {"chosen": "\n\nHuman: Why?\n\nAssistant: Good.", "rejected": "\n\nHuman: Why?\n\nAssistant: Bad."},
        # TRL
        {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."},
        {"prompt": chat("Why?"), "chosen": [chat("Why?", "Good.")[1]], "rejected": [chat("Why?", "Bad.")[1]]},
    ],
)
def test_a_published_pair_is_read_as_it_is(tmp_path: Path, row: dict[str, Any]) -> None:
    better, worse = paired(read(tmp_path, row), source="rows.jsonl")
    assert [(each.prompt, each.completion) for each in (better, worse)] == [("Why?", "Good."), ("Why?", "Bad.")]


def test_of_several_turns_the_last_response_is_the_one_that_is_compared(tmp_path: Path) -> None:
    hh = {
        "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Good.",
        "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Why?\n\nAssistant: Bad.",
    }
    chosen = chat("Hi", "Hello", "Why?", "Good.")
    binarized = {"chosen": chosen, "rejected": chat("Hi", "Hello", "Why?", "Bad."), "messages": chosen}
    wild = {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, HUMAN],
        "chosen": {"from": "gpt", "value": "Good."},
        "rejected": {"from": "gpt", "value": "Bad."},
    }
    for row in (hh, binarized, wild):
        pairs = paired(read(tmp_path, row), source="rows.jsonl")
        assert [each.completion for each in pairs] == ["Good.", "Bad."]
        assert [[turn.content for turn in each.earlier_turns or ()] for each in pairs] == [["Hi", "Hello"]] * 2


def test_equal_scores_are_no_preference(tmp_path: Path) -> None:
    completions = [{"response": text, "overall_score": 5} for text in ("One.", "Other.")]
    with pytest.raises(UserError, match="has no two 'completions' with different scores"):
        read(tmp_path, {"instruction": "Why?", "completions": completions})


@pytest.mark.parametrize("label", [True, False])
def test_unpaired_preferences_of_kto_are_read_as_they_are(tmp_path: Path, label: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Why?", "completion": "So.", "label": label},
        {"prompt": chat("Why?"), "completion": [chat("Why?", "So.")[1]], "label": label},
        {"messages": chat("Hi", "Hello", "Why?", "So."), "label": label},
        {"instruction": "Why?", "input": "", "output": "So.", "kto_tag": label},
    ]
    examples = read(tmp_path, *rows, verdicts=True)
    assert [(each.prompt, each.completion, is_desirable(each)) for each in examples] == [("Why?", "So.", label)] * 4
