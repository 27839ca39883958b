"""The registry of recipes: every class fulfils the contract, and the skeleton validates and writes."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from response_tuning.data.recipes.keep_instructions import KeepInstructions
from response_tuning.data.recipes.recipe import Made, Recipe, run_recipe
from response_tuning.data.recipes.recipe_registry import recipes
from response_tuning.data.recipes.single_task import SingleTaskSet
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.continuations import NonInstructional
from response_tuning.synthesis.roles_and_rules import RolesAndRules

OURS: list[Recipe] = [NonInstructional(), SingleTaskSet(), KeepInstructions(), RolesAndRules()]


class _Options(BaseModel):
    output: Path
    source: str = ""


class _Fixed:
    """Gives what it was made with."""

    name = "fixed"
    config = _Options

    def __init__(self, made: Made | None) -> None:
        self._made = made

    def make(self, config: _Options) -> Made | None:
        assert config.output.suffix == ".jsonl"
        return self._made


def test_all_recipes_are_registered_in_their_order() -> None:
    assert [type(recipe) for recipe in recipes()[: len(OURS)]] == [type(recipe) for recipe in OURS]


def test_every_recipe_has_a_name_and_an_output_of_its_own() -> None:
    assert len({recipe.name for recipe in OURS}) == len(OURS)
    assert all("output" in recipe.config.model_fields for recipe in OURS)


def test_examples_are_written_and_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    options = _Options(output=tmp_path / "out.jsonl")
    assert run_recipe(_Fixed(None), options) is None
    assert not options.output.exists()
    run_recipe(_Fixed(Made([Example(completion="a")])), options)
    assert read_examples(options.output) == [Example(completion="a")]


def test_the_output_is_validated_before_anything_is_made(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    write_examples(source, [Example(completion="a")])
    with pytest.raises(UserError, match=r"should end in \.jsonl"):
        run_recipe(_Fixed(None), _Options(output=tmp_path / "out.csv"))
    with pytest.raises(UserError, match="is the source itself"):
        run_recipe(_Fixed(None), _Options(output=source, source=str(source)))
