"""IFEval: its options, and its entry in the registry."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.evaluation.contract import Evaluation
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["IFEVAL", "IfevalConfig"]


class IfevalConfig(BaseModel):
    """Measure, without a judge, how well a model keeps to instructions that a program can check (IFEval).

    There are 541 prompts; verdicts are strict and loose, by prompt and by instruction.

    For example:
        rt eval ifeval runs/mine
        rt eval ifeval embedded --max-examples 100 --max-new-tokens 256
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    output: Path | None = None
    """Where to save. Default: evaluations/ifeval in the run, or in runs/base-NAME for a model that is no run."""

    max_examples: int | None = Field(default=None, ge=1)
    """Use only the first so many of the 541 prompts."""
    max_new_tokens: int = Field(default=1280, ge=1)
    """The longest response, in tokens; the harness's limit is 1280."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    batch_size: int = Field(default=40, ge=1)
    """Prompts answered at once."""
    offline: bool = False
    """Fetch nothing: take the prompts from the cache or from the folder that RESPONSE_TUNING_ASSETS names."""

    dtype: Dtype = "bfloat16"
    """The weights' type."""
    device: Device = "auto"
    """Where to compute."""


def _run(config: IfevalConfig) -> Any:
    from response_tuning.evaluation.ifeval.ifeval import evaluate_ifeval

    return evaluate_ifeval(config)


def _table(config: IfevalConfig, result: Any) -> Any:
    from response_tuning.evaluation.shared.table import metrics_columns

    return metrics_columns({config.model: result.metrics})


IFEVAL = Evaluation(name="ifeval", config=IfevalConfig, run=_run, table=_table)
