"""The registry of recipes. To add one, write a class (``recipe.py``) and list it here."""

from response_tuning.data.recipes.recipe import Recipe
from response_tuning.support.plugins import instances

__all__ = ["RECIPES", "RECIPE_PLUGINS", "recipes"]

RECIPES = (
    "response_tuning.data.recipes.non_instructional:NonInstructional",
    "response_tuning.data.recipes.single_task:SingleTaskSet",
    "response_tuning.data.recipes.keep_instructions:KeepInstructions",
    # Named, not imported: it asks a model, so its package is above this one.
    "response_tuning.synthesis.roles_and_rules:RolesAndRules",
    "response_tuning.synthesis.extract.extract:Extract",
)
"""The recipes of this package, in the order of the help."""
RECIPE_PLUGINS = "response_tuning.recipes"
"""The entry point group of other packages' recipes."""


def recipes() -> list[Recipe]:
    """Every recipe, in the order of the help."""
    return instances(RECIPES, RECIPE_PLUGINS)
