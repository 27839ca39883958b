"""Selective answering: the options, and the entry in the registry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from response_tuning.data.sources.load import STARTER_HELD_OUT
from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["SELECTIVE", "ConfidenceName", "SelectiveConfig"]

ConfidenceName = Literal["likelihood", "self", "judge"]
"""What tells how sure to be of a response before it is shown."""


class SelectiveConfig(JudgedOptions):
    """Would a model do better to keep back its doubtful responses? Quality against coverage, and a threshold.

    Each response gets a confidence before it is shown: how likely it is to the model (likelihood), how the model rates
    it (self), or how a judge rates it (judge). Measured is how far that confidence tells good responses from bad ones,
    and how much can be shown at a wanted quality.

    For example:
        rt eval selective runs/mine --wanted-quality 0.9 --plot curve.png
        rt eval selective runs/mine --confidence likelihood self judge --judge embedded-instruct
        rt eval selective runs/mine --quality-judge openai/gpt-5-mini --dry-run
    """

    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt' and 'completion' in every row; or 'starter-held-out'."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The longest response, in tokens; one that goes on has not stopped."""
    confidence: tuple[ConfidenceName, ...] = ("likelihood", "self")
    """Which confidences to measure. judge needs --judge; the others a model in this process."""
    wanted_quality: float = Field(default=0.9, ge=0, le=1)
    """The share of good responses wanted among those that are shown. A threshold for it is chosen on one half of the
    responses and reported on the other."""
    quality_judge: str | None = None
    """Who decides what a good response is: one that this judge, who sees the reference as well, rates 4 or 5.
    Default: nobody; good is a response that stops, neither echoes nor repeats, and is relevant, as 'answers' in rt
    probe."""
    quality_judge_base_url: str | None = None
    """The address of that judge's server, where it has one of its own."""
    plot: Path | None = None
    """Also draw the curves: a .png, .svg or .pdf file."""
    seed: int = 0
    """Decides which half the threshold is chosen on."""


def _run(config: SelectiveConfig) -> Any:
    from response_tuning.evaluation.selective.selective import evaluate_selective

    return evaluate_selective(config)


def _table(config: SelectiveConfig, result: Any) -> Any:
    from response_tuning.evaluation.selective.selective_table import selective_table

    return selective_table(config.model, result)


def _options_in_all(common: Mapping[str, Any]) -> dict[str, Any]:
    """A judge that is there rates confidence too."""
    return {"confidence": ("likelihood", "self", *(["judge"] if common["judge"] is not None else []))}


SELECTIVE = Evaluation(
    name="selective",
    config=SelectiveConfig,
    run=_run,
    table=_table,
    judge="optional",
    options_in_all=_options_in_all,
)
