"""The real thing, short: the embedded base model, imported, tuned on responses alone, and asked."""

import random
from pathlib import Path

import pytest

import response_tuning as rt
from response_tuning.cli.main import main
from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.example import write_examples

# Ten steps and 12 answers take a minute or two on a slow processor: few rows, the shortest, and few tokens.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_base_model_runs_on_and_a_response_tuned_one_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that the import is done for real
    short = sorted(load_examples("starter"), key=lambda example: len(example.completion))[:48]
    write_examples(tmp_path / "short.jsonl", random.Random(0).sample(short, 40))
    options = ["--epochs", "1", "--learning-rate", "1e-3", "--batch-size", "4"]
    assert main(["train", "--data", str(tmp_path / "short.jsonl"), "--output", str(tmp_path / "rt"), *options]) == 0
    prompts = [example.prompt or "" for example in load_examples(STARTER_HELD_OUT)[:6]]

    def stopped(model: str | Path) -> float:
        responses = rt.load_run(model).generate(prompts, max_new_tokens=48)
        return sum(response.stopped for response in responses) / len(responses)

    assert stopped("embedded") < 0.2
    assert stopped(tmp_path / "rt") > 0.6
