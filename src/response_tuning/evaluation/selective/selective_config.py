"""The options of ``rt eval selective``."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions, Url

__all__ = ["ConfidenceName", "SelectiveConfig"]

ConfidenceName = Literal["likelihood", "self", "judge"]
"""What estimates the confidence in a response."""


class SelectiveConfig(JudgedOptions):
    """Is a model better if it withholds the responses it is unsure of? Quality against coverage, and a threshold.

    Each response gets a confidence: how likely it is to the model (likelihood), how the model rates it (self), or how a
    judge rates it (judge). Reports how well that confidence separates good responses from bad ones, and what fraction
    can be shown at a wanted quality.

    For example:
        rt eval selective runs/mine --wanted-quality 0.9 --plot curve.png
        rt eval selective runs/mine --confidence likelihood self judge --judge embedded-instruct
        rt eval selective runs/mine --quality-judge openai/gpt-5-mini --dry-run
    """

    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt' and 'completion' in every row; or 'starter-held-out'."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The maximum length of a response, in tokens; a longer one counts as not stopped."""
    confidence: tuple[ConfidenceName, ...] = ("likelihood", "self")
    """The confidences to measure. judge needs --judge; the others need a model in this process."""
    wanted_quality: float = Field(default=0.9, ge=0, le=1)
    """The wanted proportion of good responses among those shown. A threshold for it is chosen on one half of the
    responses and reported on the other."""
    quality_judge: str | None = None
    """The judge that decides quality: it also sees the reference, and a response that it rates 4 or 5 is good.
    Without one, a good response is one that 'responds' in the sense of rt probe, which agrees with labels at kappa 0.56
    only: a symptom."""
    quality_judge_base_url: Url | None = None
    """The URL of that judge's server, if it is not the provider's default."""
    plot: Path | None = None
    """Also draw the curves: a .png, .svg or .pdf file."""
    seed: int = 0
    """The seed of the split into halves."""
