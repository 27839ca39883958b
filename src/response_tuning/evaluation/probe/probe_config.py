"""The options of ``rt eval probe``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT
from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["ProbeConfig"]


class ProbeConfig(BaseModel):
    """Measure, without a judge, how a model answers held-out instructions.

    For example:
        rt probe runs/mine
        rt probe embedded --formats
        rt probe runs/mine --checkpoints
        rt probe runs/mine --tokens
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt' and 'completion' in every row; or 'starter-held-out'."""
    output: Path | None = None
    """The results folder. Defaults to evaluations/probe in the run; for other models, in runs/base-NAME."""
    formats: bool = False
    """Compare the chat formats on one base model, and report the one that it answers best under."""
    checkpoints: bool = False
    """Measure the checkpoints of a run (checkpoints/step-N) and its end: a curve over training, as JSON and a chart."""

    tokens: bool = Field(default=False, exclude=True)
    """Compare a run with the model that it was made from, token by token, on the same responses (Lin et al. 2023)."""
    tokens_on: str = Field(default="own", exclude=True)
    """The responses that --tokens reads: the 'own' of the run, the 'references' of --data, or those of a probed run."""

    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    max_examples: int | None = Field(default=None, ge=2)
    """Use only this many examples, the first ones."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The maximum length of a response, in tokens; a longer one counts as not stopped."""
    batch_size: int = Field(default=40, ge=1)
    """Instructions per batch."""
    others: int = Field(default=5, ge=1)
    """Random responses to other instructions that each paired response is ranked against."""
    # Each additional one lengthens a probe of the embedded model by about six seconds on two cores.
    hard_others: int = Field(default=1, ge=1)
    """The responses most similar to the paired one, by sentence embedding, that it is also ranked against."""

    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
    seed: int = 0
    """The seed of the random other responses."""
