"""The options of ``rt eval ifeval``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["IfevalConfig"]


class IfevalConfig(BaseModel):
    """Measure, without a judge, how well a model follows instructions that a program can check (IFEval).

    There are 541 prompts; accuracies are strict and loose, per prompt and per instruction.

    For example:
        rt eval ifeval runs/mine
        rt eval ifeval embedded --max-examples 100 --max-new-tokens 256
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    output: Path | None = None
    """The results folder. Defaults to evaluations/ifeval in the run; for other models, in runs/base-NAME."""

    max_examples: int | None = Field(default=None, ge=1)
    """Use only this many of the 541 prompts, the first ones."""
    max_new_tokens: int = Field(default=1280, ge=1)
    """The maximum length of a response, in tokens; 1280 is the harness's limit."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    batch_size: int = Field(default=40, ge=1)
    """Prompts per batch."""
    judge_run: str | None = None
    """A judge of this model's own answers, as rt train --objective self-judge makes it."""
    best_of: int = Field(default=1, ge=1)
    """Sample this many responses to each prompt, and take the one that --judge-run grades highest."""
    offline: bool = False
    """Download nothing: read the prompts from the cache or from the folder in RESPONSE_TUNING_ASSETS."""

    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
