"""The registry of recipes. To add one, write a class (``recipe.py``) and list it here."""

from response_tuning.data.recipes.recipe import Recipe
from response_tuning.support.plugins import instances

__all__ = ["RECIPES", "RECIPE_PLUGINS", "recipes"]

RECIPES = (
    # Those of ``synthesis`` are named, not imported: they ask a model, so their package is above this one.
    "response_tuning.synthesis.continuations:NonInstructional",
    "response_tuning.data.recipes.single_task:SingleTaskSet",
    "response_tuning.data.recipes.keep_instructions:KeepInstructions",
    "response_tuning.synthesis.roles_and_rules:RolesAndRules",
    "response_tuning.synthesis.invent_prompts:InventPrompts",
    "response_tuning.synthesis.judge_set:JudgeSet",
    "response_tuning.synthesis.extract.extract:Extract",
)
"""The recipes of this package, in the order of the help."""
RECIPE_PLUGINS = "response_tuning.recipes"
"""The entry point group of other packages' recipes."""


def recipes() -> list[Recipe]:
    """Every recipe, in the order of the help."""
    return instances(RECIPES, RECIPE_PLUGINS)
