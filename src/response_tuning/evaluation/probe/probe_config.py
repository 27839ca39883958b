"""The options of ``rt eval probe``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT
from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["ProbeConfig"]


class ProbeConfig(BaseModel):
    """Measure, without a judge, how a model answers held-out instructions.

    For example:
        rt probe runs/mine
        rt probe embedded --formats
        rt probe runs/mine --checkpoints
        rt probe runs/mine --tokens
        rt probe runs/mine --data starter-test --run-code
        rt probe embedded --cut-at-turn
        rt probe --responses responses.jsonl --data questions.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional] = ""
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id. Not with --responses."""
    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt', 'completion' and, for follows and correct, 'checks'; or 'starter-held-out' (the
    development split) or 'starter-test'."""
    responses: Path | None = None
    """A JSONL file of responses, with 'prompt' and 'response' in every row: they are measured without a model."""
    output: Path | None = None
    """The results folder. Defaults to evaluations/probe in the run; for other models, in runs/base-NAME."""
    formats: bool = False
    """Compare the chat formats on one base model, and report the one that it answers best under."""
    checkpoints: bool = False
    """Measure the checkpoints of a run (checkpoints/step-N) and its end: a curve over training, as JSON and a chart."""

    tokens: bool = Field(default=False, exclude=True)
    """Compare a run with the model that it was made from, token by token, on the same responses (Lin et al. 2023)."""
    tokens_on: str = Field(default="own", exclude=True)
    """The responses that --tokens reads: the 'own' of the run, the 'references' of --data, or those of a probed run."""
    run_code: bool = False
    """Run code in responses, in a subprocess with limits, where a row's checks have tests. Without it, such rows have
    no verdict on being correct."""
    cut_at_turn: bool = False
    """Measure each response also up to the first turn that it invents, as follows_cut, correct_cut and so on."""
    ranking: bool = False
    """Measure also whether the model finds the paired response likelier than others."""
    pmi: bool = False
    """With --ranking, rank by pointwise mutual information too."""

    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    max_examples: int | None = Field(default=None, ge=2)
    """Use only this many examples, the first ones."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The maximum length of a response, in tokens; a longer one counts as not stopped."""
    batch_size: int = Field(default=40, ge=1)
    """Instructions per batch."""
    others: int = Field(default=5, ge=1)
    """Random responses to other instructions that each paired response is ranked against."""
    # Each additional one lengthens a probe of the embedded model by about six seconds on two cores.
    hard_others: int = Field(default=1, ge=1)
    """The responses most similar to the paired one, by sentence embedding, that it is also ranked against."""

    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
    seed: int = 0
    """The seed of the random other responses."""

    @model_validator(mode="before")
    @classmethod
    def _responses_name_themselves(cls, values: Any) -> Any:
        """A file of responses takes the place of the model in tables and results."""
        if isinstance(values, dict) and values.get("responses") is not None and values.get("model", "") == "":
            return {**values, "model": str(values["responses"])}
        return values

    @model_validator(mode="after")
    def _names_what_is_measured(self) -> "ProbeConfig":
        if not self.model and self.responses is None:
            raise ValueError("name a model (rt probe RUN), or a file of responses (rt probe --responses FILE)")
        if self.model and self.responses is not None and self.model != str(self.responses):
            raise ValueError(f"--responses takes the place of a model. Leave out {self.model}, or --responses")
        if self.pmi and not self.ranking:
            raise ValueError("--pmi needs --ranking")
        return self
