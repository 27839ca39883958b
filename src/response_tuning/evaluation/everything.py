"""``rt eval all``: every registered evaluation of one model, with the options that they share."""

from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.evaluation_options import JudgeOptions

__all__ = ["EverythingConfig", "evaluations_in_all"]


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


def evaluations_in_all(everything: EverythingConfig) -> list[tuple[Evaluation[Any, Any], BaseModel]]:
    """What ``rt eval all`` runs, in this order, each evaluation with its own options.

    An evaluation gets those of ``everything`` that its config has too, and besides what it derives from them itself
    (``Evaluation.options_in_all``).
    """
    chosen = [each for each in evaluations().values() if each.judge != "required" or everything.judge is not None]
    return [(evaluation, _config(evaluation, everything)) for evaluation in chosen]


def _config(evaluation: Evaluation[Any, Any], everything: EverythingConfig) -> BaseModel:
    common = {
        name: getattr(everything, name)
        for name in EverythingConfig.model_fields
        if name in evaluation.config.model_fields
    }
    config: BaseModel = evaluation.config.model_validate({**common, **evaluation.options_in_all(common)})
    return config
