"""The options of ``rt eval rules``."""

from pathlib import Path

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["RulesConfig"]


class RulesConfig(JudgedOptions):
    """How often does a run keep the rules of a system prompt? By rule, and by response, which has to keep all of them.

    The data are rows with 'rules', as rt data roles-and-rules writes them: take rows that were not trained on. A judge
    checks every rule. Source: Wang et al. 2024 (arXiv 2409.13733).

    For example:
        rt eval rules runs/it runs/rt --data held-out-rules.jsonl --judge openai/gpt-5-mini --dry-run
    """

    data: Path | None = None
    """The rows: prompt, rules (a list of lines), and the system prompt under which to answer, 'system'."""
    max_new_tokens: int = Field(default=1024, ge=1)
    """The maximum length of a response, in tokens."""
