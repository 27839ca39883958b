"""The options of ``rt eval infobench``."""

from pathlib import Path

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["InfobenchConfig"]


class InfobenchConfig(JudgedOptions):
    """InFoBench: 500 instructions taken apart into 2,250 requirements, each of which a judge finds met or not.

    The decomposed requirements following ratio (DRFR) is the proportion that is met. The judge is asked about each
    requirement on its own. Without --judge the responses are generated and saved, and not judged.

    For example:
        rt eval infobench runs/mine --judge openai/gpt-5-mini --dry-run
        rt eval infobench runs/mine --judge openai/gpt-5-mini --max-examples 100
    """

    max_new_tokens: int = Field(default=2048, ge=1)
    """The maximum length of a response, in tokens."""
    prompts: Path | None = None
    """A file with rows in InFoBench's form: instruction, input, decomposed_questions, and maybe subset, category and
    question_label. Defaults to the published one."""
