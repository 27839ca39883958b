"""The contract of a recipe, which makes training examples: each recipe is a command, ``rt data NAME``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel

from response_tuning.example import Example, check_output, write_examples

__all__ = ["Made", "Recipe", "run_recipe"]


@dataclass(frozen=True)
class Made:
    """The examples of a recipe."""

    examples: Sequence[Example]
    states: Mapping[str, int] = field(default_factory=dict)
    """How many inputs were made into an example, and how many were left out and why, for a table; may be empty."""


class Recipe(Protocol):
    """A way to make training examples. The smallest one, in a package of its own::

        class ShoutConfig(BaseModel):
            '''Write every response in capitals.'''

            source: Annotated[str, tyro.conf.Positional]
            output: Path

        class Shout:
            name = "shout"
            config = ShoutConfig

            def make(self, config: ShoutConfig) -> Made:
                return Made([Example(completion=row.completion.upper()) for row in load_examples(config.source)])

    Register it in ``recipe_registry.py``, or from another package by an entry point; ``rt data shout`` runs it::

        [project.entry-points."response_tuning.recipes"]
        shout = "my_package.shout:Shout"

    Its module must import quickly (no torch, no transformers), since every ``rt data --help`` loads it.
    """

    @property
    def name(self) -> str:
        """The command: ``rt data NAME``."""

    @property
    def config(self) -> type[BaseModel]:
        """Its options, with a field ``output`` (a path), and ``source`` if it reads one. The docstring is the help."""

    def make(self, config: Any) -> Made | None:
        """The examples for one configuration; None where nothing is to be written, as in a dry run.

        Raises:
            UserError: the input cannot be read, or gives no examples.
        """


def run_recipe(recipe: Recipe, config: Any) -> Made | None:
    """Make the examples of a recipe and write them to ``config.output``.

    Raises:
        UserError: as ``recipe.make``, or the output is not a JSONL file, or is the source itself.
    """
    check_output(config.output, getattr(config, "source", None))
    made = recipe.make(config)
    if made is not None:
        write_examples(config.output, made.examples)
    return made
