"""The options of ``rt eval alpaca``."""

from pathlib import Path

from pydantic import Field

from response_tuning.evaluation.shared.evaluation_options import JudgedOptions

__all__ = ["AlpacaConfig"]


class AlpacaConfig(JudgedOptions):
    """AlpacaEval: 805 instructions; a judge compares each response with a reference's, in both orders.

    Reports the win rate and the length-controlled win rate. Without --judge the responses are generated and saved, in
    alpaca_eval's own format, and not compared.

    For example:
        rt eval alpaca runs/mine --judge openai/gpt-5-mini --dry-run
        rt eval alpaca runs/rt --reference runs/it --judge openai/gpt-5-mini
        rt eval alpaca --annotations annotations.json
    """

    max_new_tokens: int = Field(default=2048, ge=1)
    """The maximum length of a response, in tokens."""
    reference: str = "gpt4_1106_preview"
    """The baseline: gpt4_1106_preview or text_davinci_003, a run with saved responses, or a file of model outputs in
    AlpacaEval's order."""
    allow_unparsed: int = Field(default=0, ge=0)
    """How many instructions may have no verdict. With more, the win rate is an error: it would not be comparable."""
    difficulty: Path | None = None
    """A table with index and instruction_difficulty, for the length-controlled rate. Defaults to the published one."""
    anchors: Path | None = None
    """The published verdicts on variants of the reference (df_gamed.csv), for the length-controlled rate. Defaults to
    the published file; without it, the rate is called "length_controlled (no anchors)"."""
    annotations: Path | None = None
    """A file of verdicts in alpaca_eval's format (annotations.json), published or saved before. Its win rates are
    computed without a model or a judge, and saved if --output is given."""
