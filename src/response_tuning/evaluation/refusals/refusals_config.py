"""The options of ``rt eval refusals``."""

from typing import Literal, get_args

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["RefusalsConfig", "UnsafePromptSet"]

UnsafePromptSet = Literal["advbench", "harmbench-standard", "harmbench-contextual", "malicious-instruct", "xstest"]
"""A benchmark of refusals."""


class RefusalsConfig(JudgedOptions):
    """Does a model refuse unsafe requests, and only those? AdvBench, HarmBench, MaliciousInstruct and XSTest.

    Without --judge a keyword tier decides. It supports English only, and its results are labelled "keyword".

    For example:
        rt eval refusals runs/mine --max-examples 100 --max-new-tokens 64
        rt eval refusals runs/mine --judge openai/gpt-5-mini --dry-run
    """

    sets: tuple[UnsafePromptSet, ...] = get_args(UnsafePromptSet)
    """The benchmarks to run."""
