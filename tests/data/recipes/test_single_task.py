import json
from pathlib import Path

import pytest

from response_tuning.data.recipes.recipe import run_recipe
from response_tuning.data.recipes.single_task import SingleTaskConfig, SingleTaskSet
from response_tuning.example import read_examples
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA


def single_task(config: SingleTaskConfig) -> int:
    made = run_recipe(SingleTaskSet(), config)
    assert made is not None
    return len(made.examples)


FILES = {
    "gsm8k": ("gsm8k/train_first1000.jsonl", 1_000, "Natalia sold clips to 48", "#### 72"),
    "mbpp": ("mbpp/mbpp.jsonl", 374, "Write a function", "def "),
    "poetry": (
        "poetry_public_domain/sonnets.jsonl",
        154,
        "Write a poem called From fairest creatures we desire increase",
        "memory",
    ),
    "recipes": ("recipes_public_domain/recipes.jsonl", 408, "Recipe for ", " - 3 onions (medium size)\n"),
    "chess": ("chess_lichess/games.jsonl", 1_085, '[WhiteElo "2888"]\n[BlackElo "2895"]', "1. c4 Nf6"),
}


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
@pytest.mark.parametrize("task", FILES)
def test_real_files_become_examples(tmp_path: Path, task: str) -> None:
    file, rows, prompt, completion = FILES[task]
    output = tmp_path / "out.jsonl"
    options = {"task": task, "file": SHARED_DATA / file, "output": output}
    assert single_task(SingleTaskConfig.model_validate(options)) == rows
    examples = read_examples(output)
    assert prompt in (examples[0].prompt or "")
    assert completion in examples[0].completion
    assert not any("\r" in example.completion for example in examples)
    assert single_task(SingleTaskConfig.model_validate({**options, "first": 7})) == 7
    assert read_examples(output) == examples[:7]


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_published_files_come_from_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    options = {"task": "mbpp", "output": tmp_path / "out.jsonl", "offline": True}
    assert single_task(SingleTaskConfig.model_validate(options)) == 374


def test_rows_without_the_fields_are_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "games.jsonl"
    good = {"WhiteElo": "1", "BlackElo": "2", "moves": "1. e4 { [%clk 0:01:00] } e5 1-0"}
    file.write_text(f"{json.dumps(good)}\n{json.dumps({**good, 'moves': None})}\n[]\n", encoding="utf-8")
    options = {"task": "chess", "file": file, "output": tmp_path / "out.jsonl"}
    with pytest.raises(UserError) as error:
        single_task(SingleTaskConfig.model_validate(options))
    assert f"{file}:2: has no text in field 'moves'" in str(error.value)
    assert f"{file}:3: is not a JSON object" in str(error.value)
    file.write_text(f"{json.dumps(good)}\n", encoding="utf-8")
    single_task(SingleTaskConfig.model_validate(options))
    assert read_examples(tmp_path / "out.jsonl")[0].completion == "1. e4 e5 1-0"


@pytest.mark.parametrize(
    ("ingredients", "expected"),
    [
        ("- 2 eggs\n* salt\n\nAdd more if you like.", " - 2 eggs\n - salt\n\nAdd more if you like."),
        ("2 eggs\nsalt", " - 2 eggs\n - salt"),
        ("['2 eggs', 'salt']", " - 2 eggs\n - salt"),
    ],
)
def test_a_recipe_is_items_and_steps_without_headings(tmp_path: Path, ingredients: str, expected: str) -> None:
    file = tmp_path / "recipes.jsonl"
    row = {"title": "Omelette", "ingredients": ingredients, "directions": " Beat and fry. "}
    file.write_text(json.dumps(row), encoding="utf-8")
    options = {"task": "recipes", "file": file, "output": tmp_path / "out.jsonl"}
    single_task(SingleTaskConfig.model_validate(options))
    (example,) = read_examples(tmp_path / "out.jsonl")
    assert (example.prompt, example.completion) == ("Recipe for Omelette", f"{expected}\n\nBeat and fry.")


def test_the_prompt_of_a_game_does_not_tell_how_it_ends(tmp_path: Path) -> None:
    file = tmp_path / "games.jsonl"
    file.write_text(json.dumps({"WhiteElo": "1", "BlackElo": "2", "Result": "0-1", "moves": "1. f3 e5 0-1"}))
    options = {"task": "chess", "file": file, "output": tmp_path / "out.jsonl"}
    single_task(SingleTaskConfig.model_validate(options))
    assert read_examples(tmp_path / "out.jsonl")[0].prompt == '[WhiteElo "1"]\n[BlackElo "2"]'


def test_a_task_without_a_published_file_says_what_it_needs(tmp_path: Path) -> None:
    options = {"task": "poetry", "output": tmp_path / "out.jsonl"}
    with pytest.raises(UserError, match="name a --file of rows with the fields title, content"):
        single_task(SingleTaskConfig.model_validate(options))
