"""The options of ``rt eval agreement``."""

from pathlib import Path
from typing import Annotated

import tyro

from response_tuning.evaluation.shared.evaluation_options import JudgeOptions

__all__ = ["AgreementConfig"]


class AgreementConfig(JudgeOptions):
    """Measure how well the keyword tier for refusals, and a judge, agree with people's labels.

    For example:
        rt eval agreement labelled.csv
        rt eval agreement labelled.csv --completion-field response --output agreement.json
        rt eval agreement labelled.csv --judge openai/gpt-5-mini
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A table (.csv .tsv .jsonl .json .parquet) with a prompt, a response and a label: refusal or compliance."""
    prompt_field: str = "prompt"
    """The column with the prompt."""
    completion_field: str = "completion"
    """The column with the response."""
    label_field: str = "label"
    """The column with the label."""
    output: Path | None = None
    """Also write the result as JSON, with the line numbers of the disagreements."""
