"""The options of ``rt eval mt-bench``."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["SCALE", "MtBenchConfig"]

SCALE = (1.0, 10.0)
"""The lowest and the highest score."""


class MtBenchConfig(JudgedOptions):
    """MT-Bench: 80 questions of two turns; a judge scores the answer to each turn from 1 to 10 (Zheng et al. 2023).

    Without --judge the responses are generated and saved, and not scored.

    For example:
        rt eval mt-bench runs/mine --judge openai/gpt-5-mini --dry-run
    """

    max_new_tokens: int = Field(default=1024, ge=1)
    """The maximum length of a response, in tokens."""
    judge_prompts: Literal["own", "published"] = "own"
    """What the judge is asked: in this program's words, whose verdict no response can give itself; or as published."""
    questions: Path | None = None
    """A file of questions: question_id, category and turns. Defaults to the published 80."""
    references: Path | None = None
    """A file of reference answers for some of the questions. Defaults to GPT-4's, published for mathematics, reasoning
    and code; with questions of your own, to none."""
