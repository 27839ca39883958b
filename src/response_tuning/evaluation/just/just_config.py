"""JustEval: its options, and its entry in the registry."""

from pathlib import Path
from typing import Any

from pydantic import Field

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["JUST", "JustConfig"]


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


def _run(config: JustConfig) -> Any:
    from response_tuning.evaluation.just.just_eval import evaluate_just

    return evaluate_just(config)


def _table(config: JustConfig, result: Any) -> Any:
    from response_tuning.evaluation.just.just_table import just_table

    return just_table(config.model, result)


JUST = Evaluation(name="just", config=JustConfig, run=_run, table=_table, judge="required")
