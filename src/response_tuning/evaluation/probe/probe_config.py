"""The probe: its options, and its entry in the registry."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sources.load import STARTER_HELD_OUT
from response_tuning.evaluation.contract import Evaluation
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["PROBE", "ProbeConfig"]


class ProbeConfig(BaseModel):
    """Measure, without a judge, how a model answers held-out instructions.

    For example:
        rt probe runs/mine
        rt probe embedded --formats
        rt probe runs/mine --checkpoints
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt' and 'completion' in every row; or 'starter-held-out'."""
    output: Path | None = None
    """Where to save. Default: evaluations/probe in the run, or in runs/base-NAME for a model that is no run."""
    formats: bool = False
    """Compare the chat formats on one base model, and name the one that it answers best under."""
    checkpoints: bool = False
    """Measure a run's checkpoints (checkpoints/step-N) and its end: a curve over training, as JSON and as a chart."""

    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    max_examples: int | None = Field(default=None, ge=2)
    """Use only the first so many examples."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The longest response, in tokens; one that goes on has not stopped."""
    batch_size: int = Field(default=40, ge=1)
    """Instructions answered at once."""
    others: int = Field(default=5, ge=1)
    """Other instructions' responses, drawn at random, that each paired response is ranked against."""
    # Each one more makes a probe of the embedded model about six seconds longer on two cores.
    hard_others: int = Field(default=1, ge=1)
    """The responses most alike to the paired one, by sentence embedding, that it is ranked against as well."""

    dtype: Dtype = "bfloat16"
    """The weights' type."""
    device: Device = "auto"
    """Where to compute."""
    seed: int = 0
    """Decides which other responses are drawn."""


def _run(config: ProbeConfig) -> Any:
    """A ``ProbeResult``; a ``FormatComparison`` with --formats; a list of ``CheckpointProbe`` with --checkpoints."""
    from response_tuning.evaluation.probe.checkpoints import probe_checkpoints
    from response_tuning.evaluation.probe.probe import compare_formats, probe

    if config.formats:
        return compare_formats(config)
    return probe_checkpoints(config) if config.checkpoints else probe(config)


def _table(config: ProbeConfig, result: Any) -> Any:
    from response_tuning.evaluation.probe.probe_table import probe_table

    return probe_table(config, result)


PROBE = Evaluation(name="probe", config=ProbeConfig, run=_run, table=_table, compares_whole_sets=True)
