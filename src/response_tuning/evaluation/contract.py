"""What an evaluation is: the contract that ``rt eval``, ``rt eval all`` and ``rt compare`` rely on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Evaluation", "JudgeNeed"]

Config = TypeVar("Config", bound=BaseModel)
Result = TypeVar("Result")
JudgeNeed = Literal["none", "optional", "required"]
"""required: without a judge there are responses and no numbers, so that ``rt eval all`` leaves the evaluation out."""


def _nothing(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Evaluation(Generic[Config, Result]):
    """One evaluation of a model. The smallest one, for ``rt eval shouting RUN [RUN ...]``::

        class ShoutingConfig(GenerationOptions):
            \"\"\"How often does a model answer in capitals?\"\"\"

        def measure(config: ShoutingConfig, folder: Path) -> Measurement[Means]:
            prompts = ["Name a river.", "Name a city."]
            responses, backend = respond_here(config, prompts, folder=folder)
            rows = [{"prompt": prompt, "response": response.text, "values": {"shouts": float(response.text.isupper())}}
                    for prompt, response in zip(prompts, responses, strict=True)]
            return Measurement(means_of(rows), backend)

        SHOUTING = Evaluation(
            name="shouting", config=ShoutingConfig,
            run=lambda config: evaluate_unjudged(config, "shouting", measure=partial(measure, config)),
            table=lambda config, result: metrics_table({config.model: result.metrics}))

    It becomes a command by ``registry.register(SHOUTING)``, or by an entry point of the group
    ``response_tuning.evaluations`` that names it. A judged evaluation calls ``evaluate_judged`` instead.

    The command line imports every evaluation for its help. So those of this package have their config in a module of
    its own, and ``run`` and ``table`` import the rest (torch, numpy) when they are called.
    """

    name: str
    """As typed after ``rt eval``; also the name of the folder of its results."""
    config: type[Config]
    """Its options: a pydantic model with a field ``model``, a docstring for ``--help``, and a default for every option
    but ``model``."""
    run: Callable[[Config], Result | None]
    """Measures, saves and returns the result; None after a dry run. Raises ``UserError`` for bad input."""
    table: Callable[[Config, Result], "RenderableType"]
    """The result for the terminal: anything that rich prints."""
    judge: JudgeNeed = "none"
    """Whether a judge decides."""
    options_in_all: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _nothing
    """Further options in ``rt eval all``, given those that it shares with the other evaluations."""
    in_all: bool = True
    """Whether ``rt eval all`` runs it. One that needs data of the user's own does not take part."""
    compares_whole_sets: bool = False
    """Whether the value of one prompt depends on all the others, so that ``rt compare`` requires equal sets of them."""
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    """The lowest and the highest value of each metric that has them and is no proportion, such as (1, 5) for a rating.
    The intervals of ``rt compare`` stay on these scales."""
    instead_of_model: str | None = None
    """An option that takes the place of the model, such as a file of responses: with it no model is named."""
