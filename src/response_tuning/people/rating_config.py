"""The options of ``rt rate``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sources.load_examples import STARTER_TEST
from response_tuning.support.options import Device, Dtype

__all__ = ["RateConfig", "RateExportConfig", "RateReportConfig"]

_DEFAULT_OUTPUT = Path("ratings/rating")


class RateConfig(BaseModel):
    """Let people rate the responses of runs: blind, in their browsers, with every vote kept.

    Prints a link for each rater and one for the administrator. Run the same command, or name --output alone, to resume
    after a stop. The results: rt rate report --help; other formats: rt rate export --help.

    For example:
        rt rate runs/quickstart/rt runs/quickstart/it
        rt rate runs/rt runs/it embedded --prompts questions.jsonl --raters 3 --overlap 0.2
        rt rate runs/rt human-answers.jsonl --prompts alpaca-eval --max-prompts 100 --training --attention-checks 4
        rt rate --output ratings/first
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[list[str], tyro.conf.Positional] = Field(default_factory=list)
    """Runs or other models, and files of responses (JSONL rows with 'prompt' and 'response', or alpaca_eval's
    model_outputs.json). None to resume the rating in --output."""
    prompts: str = STARTER_TEST
    """What they are asked: alpaca-eval, just-eval, a JSONL file with 'prompt' in every row, or a data set by name."""
    max_prompts: int | None = Field(default=None, ge=1)
    """Ask only this many, drawn with the seed."""
    raters: int = Field(default=3, ge=1, le=100)
    """How many people rate."""
    overlap: float = Field(default=1.0, ge=0, le=1)
    """The fraction of screens that every rater sees; each of the others is seen by one."""
    protocol: str = "an-kim"
    """What is asked: an-kim (three levels, preference or tie), tulu (yes or no, five points), or a YAML file."""
    render: Literal["text", "markdown"] = "text"
    """How responses are shown. markdown: formatted, with HTML, links and images as text."""
    training: bool = False
    """Whether raters begin with the protocol's training round, in which an explanation follows each vote."""
    attention_checks: int = Field(default=0, ge=0)
    """How many screens with an obvious answer are hidden among each rater's."""
    hold_flagged: bool = False
    """Whether a prompt is held from the raters once one of them flags it, and from the start if its row has 'flagged':
    true, until the administrator has read it."""
    output: Path = _DEFAULT_OUTPUT
    """The folder of the rating."""
    seed: int = 0
    """Of the drawn prompts, the order and the sides."""
    offline: bool = False
    """Whether nothing may be fetched."""

    host: str = "127.0.0.1"
    """Where to serve. Any other address can be reached by others: give --certificate and --key as well."""
    port: int = Field(default=8765, ge=0, le=65535)
    """The port; 0 for a free one."""
    certificate: Path | None = None
    """A certificate file, for HTTPS."""
    key: Path | None = None
    """Its key file."""
    prepare_only: bool = False
    """Whether to stop before serving, once responses and plan are saved."""

    max_new_tokens: int = Field(default=256, ge=1)
    """The maximum length of a response that has to be generated, in tokens."""
    batch_size: int = Field(default=16, ge=1)
    """Prompts per batch."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""


class RateReportConfig(BaseModel):
    """Report a rating: acceptance, preferences, strengths, agreement of raters, and judge and probe against people.

    Writes report.html and report.csv into its folder, and what people say about each run among the run's evaluations,
    so that rt compare shows it.

    For example:
        rt rate report ratings/first
        rt rate report ratings/first --join dawid-skene --annotations judge/annotations.json
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of the rating."""
    join: Literal["mean", "majority", "dawid-skene"] = "mean"
    """How several raters' votes on the same become one: their mean, their majority, or a model of their errors."""
    annotations: list[Path] = Field(default_factory=list)
    """Judges' preferences to compare with people's, in the format of alpaca_eval. Those in the runs' own AlpacaEval are
    found without being named."""


class RateExportConfig(BaseModel):
    """Write the votes of a rating in other formats.

    For example:
        rt rate export ratings/first --output votes.jsonl
        rt rate export ratings/first --to pairs --output pairs.jsonl
        rt rate export ratings/first --to alpaca-eval --output annotations.json
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of the rating."""
    output: Path
    """The file to write. Formats of one pair of runs, or of one run, write a file for each where there are several."""
    to: Literal["votes", "pairs", "alpaca-eval", "llm-comparator", "inspect"] = "votes"
    """votes: JSONL, one vote a line with everything. pairs: JSONL with prompt, completion and rejected, for preference
    tuning. alpaca-eval: annotations.json. llm-comparator: the JSON of that viewer. inspect: a log for inspect view."""
