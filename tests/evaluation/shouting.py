"""An evaluation from outside the package, as a user would write it: the example of ``Evaluation``'s docstring."""

from functools import partial
from pathlib import Path

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.shared.answering import respond_here
from response_tuning.evaluation.shared.evaluate_unjudged import Means, Measurement, evaluate_unjudged, means_of
from response_tuning.evaluation.shared.evaluation_options import GenerationOptions
from response_tuning.evaluation.shared.table import metrics_table

__all__ = ["SHOUTING", "ShoutingConfig"]


class ShoutingConfig(GenerationOptions):
    """How often does a model answer in capitals?"""


def measure(config: ShoutingConfig, folder: Path) -> Measurement[Means]:
    """Ask two questions and look at the case of the answers."""
    prompts = ["Name a river.", "Name a city."][: config.max_examples]
    responses, backend = respond_here(config, prompts, folder=folder)
    rows = [
        {"prompt": prompt, "response": response.text, "values": {"shouts": float(response.text.isupper())}}
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return Measurement(means_of(rows), backend)


SHOUTING = Evaluation(
    name="shouting",
    config=ShoutingConfig,
    run=lambda config: evaluate_unjudged(config, "shouting", measure=partial(measure, config)),
    table=lambda config, result: metrics_table({config.model: result.metrics}),
)
