"""The options of ``rt rate``."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.data.sources.load_examples import STARTER_TEST
from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype

__all__ = ["RateConfig", "RateExportConfig", "RateReportConfig"]


class RateConfig(BaseModel):
    """Let people rate the responses of runs: blind, in their browsers, with every vote kept.

    For example:
        rt rate runs/quickstart/rt runs/quickstart/it
        rt rate runs/rt runs/it embedded --prompts questions.jsonl --raters 3 --overlap 0.2
        rt rate --output ratings/first
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    runs: Annotated[list[str], tyro.conf.Positional] = Field(default_factory=list)
    """Runs or other models, one or more; none to go on with the rating in --output."""
    prompts: str = STARTER_TEST
    """What they are asked: a JSONL file with 'prompt' in every row, or a data set by name."""
    max_prompts: int | None = Field(default=None, ge=1)
    """Ask only this many, the first ones."""
    raters: int = Field(default=3, ge=1, le=100)
    """How many people rate."""
    overlap: float = Field(default=1.0, ge=0, le=1)
    """The fraction of screens that every rater sees; each of the others is seen by one."""
    protocol: str = "an-kim"
    """What is asked: an-kim (three levels, preference or tie), tulu (yes or no, five points), or a YAML file."""
    output: Path = Path("ratings/rating")
    """The folder of the rating."""
    seed: int = 0
    """Of the order and the sides."""

    host: str = "127.0.0.1"
    """Where to serve. Any other address can be reached by others: give --certificate and --key as well."""
    port: int = Field(default=8765, ge=0, le=65535)
    """The port; 0 for a free one."""
    certificate: Path | None = None
    """A certificate file, for HTTPS."""
    key: Path | None = None
    """Its key file."""

    max_new_tokens: int = Field(default=256, ge=1)
    """The maximum length of a response that has to be generated, in tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts per batch."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""


class RateReportConfig(BaseModel):
    """Report a rating: acceptance, preferences, strengths, and how far the raters agree.

    For example:
        rt rate report ratings/first
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of the rating."""


class RateExportConfig(BaseModel):
    """Write the votes of a rating as JSONL, as annotations of alpaca_eval, or as preference pairs.

    For example:
        rt rate export ratings/first --output votes.jsonl
        rt rate export ratings/first --to pairs --output pairs.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of the rating."""
    output: Path
    """The file to write."""
    to: str = Field(default="votes", pattern="^(votes|alpaca-eval|pairs)$")
    """votes: one a line with everything. alpaca-eval: annotations.json. pairs: prompt, completion and rejected."""
