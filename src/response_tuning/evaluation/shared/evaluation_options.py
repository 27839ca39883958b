"""Options that several evaluations share: which model answers, and who judges."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.asking.ask_options import AskOptions
from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.secrets import Url

__all__ = ["GenerationOptions", "JudgeOptions", "JudgedOptions", "Url"]


class GenerationOptions(BaseModel):
    """Which model is measured, and how it generates: one greedy response per prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file; or PROVIDER/NAME as Inspect AI has it, such as
    vllm/Qwen/Qwen3-8B or openai-api/SERVICE/NAME."""
    base_url: Url | None = None
    """The URL of the model's server, if it is not the provider's default."""
    output: Path | None = None
    """The results folder. Defaults to evaluations/TASK in the run; for other models, in runs/base-NAME."""
    max_examples: int | None = Field(default=None, ge=1)
    """Use only this many prompts, drawn with seed 0; this many of each set, if there are several."""
    max_new_tokens: int = Field(default=512, ge=1)
    """The maximum length of a response, in tokens."""
    batch_size: int = Field(default=40, ge=1)
    """Prompts per batch; for a server, concurrent requests."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
    offline: bool = False
    """Download nothing; for a missing file, print which one it is and where to put it."""
    judge_run: str | None = None
    """A judge of this model's own answers, as rt train --objective self-judge makes it."""
    best_of: int = Field(default=1, ge=1)
    """Sample this many responses to each prompt, and take the one that --judge-run grades highest."""


class JudgeOptions(BaseModel):
    """Which model judges, and how it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str | None = None
    """The judge: any model of Inspect AI as PROVIDER/NAME, or a local one. Keys are read from the environment."""
    judge_base_url: Url | None = None
    """The URL of the judge's server, if it is not the provider's default."""
    judge_max_tokens: int = Field(default=512, ge=1)
    """The maximum length of a judge's answer, in tokens. A larger one asks again for answers that were cut off."""
    concurrency: Annotated[int, tyro.conf.arg(aliases=["-j"])] = Field(default=8, ge=1)
    """Concurrent questions to the judge."""
    retries: int = Field(default=4, ge=0)
    """How often a failed request to a server is retried, with exponential backoff."""
    timeout_seconds: int = Field(default=300, ge=1)
    """A request that takes longer fails."""
    retry_errors: bool = False
    """Ask questions again that ended in an error before, or that the server refused."""
    retry_unparsed: bool = False
    """Ask a judge again where no verdict could be read in its answer."""
    dry_run: bool = False
    """Ask no server: print how much would be asked, and what a judge would cost. A model in this process still
    answers the prompts."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million input tokens of the judge, for the forecast."""
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million output tokens of the judge, for the forecast."""

    def judges(self) -> list[AskOptions]:
        """The judge, if there is one."""
        return [] if self.judge is None else [self.asking()]

    def asking(self) -> AskOptions:
        """The same options as those of asking a model."""
        assert self.judge is not None
        return AskOptions(
            model=self.judge,
            base_url=self.judge_base_url,
            max_tokens=self.judge_max_tokens,
            concurrency=self.concurrency,
            retries=self.retries,
            timeout_seconds=self.timeout_seconds,
            retry_errors=self.retry_errors,
            retry_unparsed=self.retry_unparsed,
            input_usd_per_million=self.input_usd_per_million,
            output_usd_per_million=self.output_usd_per_million,
        )


class JudgedOptions(GenerationOptions, JudgeOptions):
    """Which model answers, and which one judges: the options of every judged evaluation."""
