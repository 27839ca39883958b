"""Evaluation texts in training data."""

import json
from pathlib import Path

import pytest

from response_tuning.data.quality.contamination import EVALUATION_SETS, EvaluationTexts
from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.data.sources.readers import read_file
from response_tuning.example import Example
from response_tuning.support import assets as assets_module
from response_tuning.support.assets import ASSETS, MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.options import STARTER
from response_tuning.support.records import Record
from tests.conftest import SHARED_DATA

LONG = "Name three rivers that flow through more than four countries and say where each of them ends."
SHORT = "Why is grass green?"


@pytest.fixture
def evaluation(tmp_path: Path) -> EvaluationTexts:
    path = tmp_path / "evaluation.jsonl"
    rows = [{"turns": [LONG], "kind": "geography"}, {"turns": [SHORT], "kind": "biology"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return EvaluationTexts((str(path),))


@pytest.mark.parametrize(
    "example",
    [
        Example(prompt=LONG, completion="The Danube."),
        Example(prompt=f"Please! {LONG.upper()} Thanks.", completion="The Danube."),
        Example(completion=f"You asked: {LONG} Well."),
        Example(prompt="why is grass GREEN", completion="Chlorophyll."),
        Example(completion=SHORT),
    ],
)
def test_an_evaluation_text_is_found_in_prompt_or_response(evaluation: EvaluationTexts, example: Example) -> None:
    assert evaluation.find(example) is not None


@pytest.mark.parametrize(
    "example",
    [
        Example(prompt="Name three rivers that flow through more than four countries.", completion="The Danube."),
        Example(prompt="Why is grass green in spring, and why is it yellow in autumn?", completion="Chlorophyll."),
        Example(prompt="geography", completion="biology"),
    ],
)
def test_a_part_of_one_is_not_enough(evaluation: EvaluationTexts, example: Example) -> None:
    assert evaluation.find(example) is None


def test_the_starter_set_and_its_held_out_pairs_share_nothing() -> None:
    held_out = EvaluationTexts((STARTER_HELD_OUT,))
    assert [example for example in load_examples(STARTER) if held_out.find(example)] == []
    assert all(held_out.find(example) for example in load_examples(STARTER_HELD_OUT))


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(UserError, match="There is no evaluation set 'alpaca-evil'"):
        EvaluationTexts(("alpaca-evil",))


@pytest.mark.parametrize(
    ("name", "asset"), [("alpaca-eval", "text_davinci_003"), ("alpaca-eval", "gpt4_1106_preview"), ("just-eval",) * 2]
)
def test_prompts_of_judged_sets_are_looked_for_where_any_file_with_them_is_here_and_answers_to_them_are_not(
    name: str, asset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    monkeypatch.setattr(assets_module, "cache_folder", lambda: tmp_path / "cache")
    assert EvaluationTexts((), offline=True).names == [STARTER_HELD_OUT]
    path = tmp_path / ASSETS[asset].path
    path.parent.mkdir()
    answered = "The Danube, the Nile and the Rhine flow through many countries and all of them end in a sea."
    path.write_text(json.dumps([{"instruction": LONG, "output": answered, "generator": "somebody"}]))
    for texts in (EvaluationTexts((), offline=True), EvaluationTexts((name,), offline=True)):
        assert name in texts.names
        found = texts.find(Example(prompt=LONG, completion="The Danube."))
        assert found is not None
        assert found.evaluation_set == name
        assert texts.find(Example(completion=answered)) is None


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_every_prompt_of_every_real_set_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    texts = EvaluationTexts((), offline=True)
    in_another_form = {"alpaca-eval", "just-eval"}
    assert {*texts.names} >= {STARTER_HELD_OUT, *EVALUATION_SETS} - in_another_form
    fields = {"xstest": "prompt", "advbench": "goal", "ifeval": "prompt", "harmbench": "Behavior"}
    for name, field in fields.items():
        records = [record for record in read_file(SHARED_DATA / ASSETS[name].path) if isinstance(record, Record)]
        prompts = [record.value[field] for record in records]
        missed = [prompt for prompt in prompts if not texts.find(Example(prompt=prompt, completion="x"))]
        # Those of three words or fewer are too common to be looked for.
        assert all(len(prompt.split()) <= 3 for prompt in missed), missed[:5]
