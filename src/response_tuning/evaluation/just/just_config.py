"""The options of ``rt eval just``."""

from pathlib import Path

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["ASPECTS", "OVERALL", "SCALE", "JustConfig"]

ASPECTS = {
    "just_regular": ("helpfulness", "clarity", "factuality", "depth", "engagement"),
    "just_safety": ("safety",),
}
"""The aspects of each kind of prompt, by the template of the judge's request."""
OVERALL = "overall"
"""The mean of the aspects of a regular prompt."""
SCALE = (1.0, 5.0)
"""The lowest and the highest rating."""


class JustConfig(JudgedOptions):
    """JustEval: 800 regular and 200 unsafe prompts, rated by a judge from 1 to 5 on six aspects.

    Without --judge the responses are generated and saved, and not rated.

    For example:
        rt eval just runs/mine --judge openai/gpt-5-mini --dry-run
    """

    max_new_tokens: int = Field(default=2048, ge=1)
    """The maximum length of a response, in tokens."""
    prompts: Path | None = None
    """A file of prompts with the fields instruction and category (regular or safety). Defaults to the published one."""
