"""Run an evaluation by its name: the function behind ``rt eval NAME``, for Python."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from response_tuning.evaluation.registry import find_evaluation
from response_tuning.models.spec import spec_of
from response_tuning.support.configuration import explain
from response_tuning.support.errors import UserError

__all__ = ["evaluate"]


def evaluate(name: str, model: str | Path, **options: Any) -> Any:
    """Run one evaluation of a model and save its results, as ``rt eval NAME MODEL`` does.

        evaluate("probe", "runs/mine", max_examples=50)

    Args:
        name: the evaluation's name in the registry, such as "probe" or "refusals".
        model: a model spec, or the path of a run or model.
        **options: the evaluation's options, by their names in Python and YAML (``max_examples``, not
            ``--max-examples``).

    Returns:
        The evaluation's result, whose type depends on the evaluation; None after a dry run.

    Raises:
        UserError: there is no such evaluation or option, a value is out of bounds, or the evaluation cannot run.
    """
    evaluation = find_evaluation(name)
    try:
        config = evaluation.config.model_validate({"model": spec_of(model), **options})
    except ValidationError as error:
        raise UserError(explain(error, evaluation.config)) from error
    return evaluation.run(config)
