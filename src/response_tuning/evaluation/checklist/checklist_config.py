"""The options of ``rt eval checklist``."""

from pathlib import Path

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["COLUMNS", "ChecklistConfig"]

COLUMNS = ("completion", "rejected")
"""References that are fields of the data."""


class ChecklistConfig(JudgedOptions):
    """A judge compares a run with a reference by users' own preferences, with and without them in view.

    The data are rows with 'preferences', as rt data feedback writes them: take rows that were not trained on. Each pair
    of answers is judged in both orders. Source: Shi et al. 2024 (arXiv 2408.15549).

    For example:
        rt eval checklist runs/dpo --reference runs/sft --data held-out-pairs.jsonl --judge openai/gpt-5-mini --dry-run
    """

    reference: str | None = None
    """What to compare with: a run or any other model; or 'completion' or 'rejected', the response in the data."""
    data: Path | None = None
    """The rows: prompt, earlier_turns and preferences, a list of lines."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """The maximum length of a response, in tokens."""
