"""Options that several evaluations share: which model answers, and who judges."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.asking.ask_options import AskOptions
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["GenerationOptions", "JudgeOptions", "JudgedOptions"]


class GenerationOptions(BaseModel):
    """Which model is measured, and how it answers: greedily, once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file; or PROVIDER/NAME as Inspect AI has it, such as
    vllm/Qwen/Qwen3-8B or openai-api/SERVICE/NAME."""
    base_url: str | None = None
    """The address of the model's server, where it has one of its own."""
    output: Path | None = None
    """Where to save. Default: evaluations/TASK in the run, or in runs/base-NAME for a model that is no run."""
    max_examples: int | None = Field(default=None, ge=1)
    """Use only so many prompts, drawn with seed 0; of several sets, so many of each."""
    max_new_tokens: int = Field(default=512, ge=1)
    """The longest response, in tokens."""
    batch_size: int = Field(default=40, ge=1)
    """Prompts answered at once; for a server, requests at once."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    dtype: Dtype = "bfloat16"
    """The weights' type."""
    device: Device = "auto"
    """Where to compute."""
    offline: bool = False
    """Fetch nothing; where a file is missing, say which one and where to put it."""


class JudgeOptions(BaseModel):
    """Who judges, and how hard to press it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: str | None = None
    """Who judges: any model of Inspect AI as PROVIDER/NAME, or a local one. Keys are read from the environment."""
    judge_base_url: str | None = None
    """The address of the judge's server, where it has one of its own."""
    judge_max_tokens: int = Field(default=512, ge=1)
    """The judge's longest answer, in tokens."""
    concurrency: Annotated[int, tyro.conf.arg(aliases=["-j"])] = Field(default=8, ge=1)
    """How many questions to the judge are under way at once."""
    retries: int = Field(default=4, ge=0)
    """How often a failed request to a server is repeated, after growing pauses."""
    timeout_seconds: int = Field(default=300, ge=1)
    """A request that takes longer has failed."""
    retry_errors: bool = False
    """Ask again what ended in an error before."""
    dry_run: bool = False
    """Ask no server: say how much would be asked, and what a judge would cost. A model in this process answers the
    prompts all the same."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    """The judge's price of a million tokens of questions, for the estimate."""
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """The judge's price of a million tokens of answers, for the estimate."""

    def judges(self) -> list[AskOptions]:
        """Whom to ask for verdicts, if anybody."""
        return [] if self.judge is None else [self.asking()]

    def asking(self) -> AskOptions:
        """The same, as options for asking the judge."""
        assert self.judge is not None
        return AskOptions(
            model=self.judge,
            base_url=self.judge_base_url,
            max_tokens=self.judge_max_tokens,
            concurrency=self.concurrency,
            retries=self.retries,
            timeout_seconds=self.timeout_seconds,
            retry_errors=self.retry_errors,
            input_usd_per_million=self.input_usd_per_million,
            output_usd_per_million=self.output_usd_per_million,
        )


class JudgedOptions(GenerationOptions, JudgeOptions):
    """Which model answers, and who judges: what all judged evaluations have."""
