"""``rt eval all``: every registered evaluation of one model, with the options that they share."""

from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field, ValidationError

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.evaluation_options import JudgeOptions
from response_tuning.support.configuration import explain
from response_tuning.support.errors import UserError

__all__ = ["EverythingConfig", "evaluations_in_all", "options_in_all"]


class EverythingConfig(JudgeOptions):
    """Run every evaluation that rt eval --help lists, one after the other; without --judge, those that need no judge.

    An evaluation that cannot run (a missing file, a missing package) is reported, and the others still run.

    For example:
        rt eval all runs/quickstart/rt runs/quickstart/it --max-examples 100 --data-dir data
    """

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model in this process: 'embedded', a folder or a .gguf file."""
    max_examples: int | None = Field(default=None, ge=1)
    """Use at most this many prompts of each set."""
    data_dir: Path | None = None
    """A folder with the published files of the core capabilities, so that nothing is downloaded."""
    offline: bool = False
    """Download nothing; for a missing file, print which one it is and where to put it."""


def evaluations_in_all(everything: EverythingConfig) -> list[Evaluation[Any, Any]]:
    """What ``rt eval all`` runs, in this order: without a judge, only evaluations that do not require one."""
    return [
        each
        for each in evaluations().values()
        if each.in_all and (each.judge != "required" or everything.judge is not None)
    ]


def options_in_all(evaluation: Evaluation[Any, Any], everything: EverythingConfig) -> BaseModel:
    """The options of one evaluation in ``rt eval all``.

    These are the options of ``everything`` that its config has too, and those that it derives from them
    (``Evaluation.options_in_all``).

    Raises:
        UserError: a value is out of the bounds of this evaluation.
    """
    common = {
        name: getattr(everything, name)
        for name in EverythingConfig.model_fields
        if name in evaluation.config.model_fields
    }
    try:
        options: BaseModel = evaluation.config.model_validate({**common, **evaluation.options_in_all(common)})
    except ValidationError as error:
        raise UserError(explain(error, evaluation.config)) from error
    return options
