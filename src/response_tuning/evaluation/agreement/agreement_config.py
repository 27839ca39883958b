"""The options of ``rt eval agreement``."""

from pathlib import Path
from typing import Annotated

import tyro

from response_tuning.evaluation.shared.evaluation_options import JudgeOptions

__all__ = ["CALIBRATION", "CALIBRATION_CHOOSING", "XSTEST", "XSTEST_REPLICATION", "AgreementConfig"]

XSTEST = "xstest"
"""The name of XSTest's labelled responses, where a file is expected."""
XSTEST_REPLICATION = "xstest-replication"
"""The name of labelled responses of newer models to XSTest's prompts and to new ones, where a file is expected."""
CALIBRATION = "calibration"
"""The name of this package's labelled responses to its held-out prompts, where a file is expected: the half that chose
no threshold."""
CALIBRATION_CHOOSING = "calibration-choosing"
"""The name of the other half."""


class AgreementConfig(JudgeOptions):
    """Measure how well verdicts agree with labels: a measure of a results folder, keyword refusals, or a judge.

    Without --measure, the keyword tier for refusals (and a --judge) is compared with labels of refusal or compliance.
    With it, the verdicts are read from the file: any measure that ``rt probe`` or another evaluation wrote into its
    ``responses.jsonl``, or a second person's labels. ``responds``, ``loops``, ``copies`` and ``on_topic`` are computed
    from the texts where the file does not hold them.

    For example:
        rt eval agreement labelled.csv
        rt eval agreement xstest
        rt eval agreement calibration --measure responds
        rt eval agreement labelled.csv --map-label 1_full_compliance=compliance 2_full_refusal=refusal
        rt eval agreement runs/mine/evaluations/probe/responses.jsonl --measure responds --labels labels.csv
        rt eval agreement first_pass.jsonl --measure label --labels second_pass.jsonl
        rt eval agreement labelled.csv --judge openai/gpt-5-mini --output agreement.json
    """

    data: Annotated[Path, tyro.conf.Positional]
    """A table (.csv .tsv .jsonl .json .parquet) with a prompt, a response and a label; or 'xstest': 2,074 responses
    with labels of refusal or compliance (Röttger et al. 2023), downloaded once; or 'xstest-replication': 4,426
    responses of five newer models, labelled alike; or 'calibration': responses to the
    starter set's held-out prompts, labelled for this package (docs/evaluation.md)."""
    measure: str | None = None
    """The verdict that is compared: a column of the table, or a name in its 'values'."""
    labels: Path | None = None
    """A second table with the labels, if they are not in the first. Its rows are matched by 'id', or else by the texts
    of prompt and response."""
    map_label: tuple[str, ...] = ()
    """LABEL=MEANING for labels in other words: refusal or compliance, or yes or no with --measure; 'skip' leaves the
    row out."""
    prompt_field: str = "prompt"
    """The column with the prompt."""
    completion_field: str = "completion"
    """The column with the response. Where there is no such column, 'response' is read."""
    label_field: str = "label"
    """The column with the label."""
    offline: bool = False
    """Download nothing; for a missing file, print which one it is and where to put it."""
    output: Path | None = None
    """Also write the result as JSON, with the line numbers of the disagreements: a file, or a folder for its
    metrics.json."""
