"""Every option of the evaluations, in one place."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.sources.load_examples import STARTER_HELD_OUT
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = [
    "CORE_TASKS",
    "AgreementConfig",
    "AlpacaConfig",
    "CompareConfig",
    "ConfidenceName",
    "CoreConfig",
    "CoreTask",
    "EverythingConfig",
    "GenerationOptions",
    "IfevalConfig",
    "JudgeOptions",
    "JustConfig",
    "ProbeConfig",
    "RefusalsConfig",
    "SelectiveConfig",
    "UnsafePromptSet",
]

CoreTask = Literal["mmlu", "openbookqa", "hellaswag", "arc_easy", "arc_challenge", "piqa", "gsm8k"]
"""A core capability, by the evaluation harness's name."""
CORE_TASKS: tuple[CoreTask, ...] = get_args(CoreTask)


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


class CoreConfig(BaseModel):
    """Measure core capabilities with the lm-evaluation-harness: its tasks and metrics, in the model's chat format.

    MMLU, OpenBookQA, HellaSwag, ARC and PIQA are zero-shot, GSM8K has eight examples as earlier turns.

    For example:
        rt eval core runs/mine
        rt eval core runs/mine --tasks piqa gsm8k --max-examples 100 --data-dir data
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    tasks: tuple[CoreTask, ...] = CORE_TASKS
    """Which tasks."""
    data_dir: Path | None = None
    """A folder with the published files, so that nothing is fetched: arc/ARC-Easy-Test*.jsonl, gsm8k/train*.jsonl and
    test*.jsonl, hellaswag/hellaswag_val*.jsonl, mmlu/mmlu_test*.jsonl, openbookqa/test*.jsonl, piqa/valid*.jsonl.
    Default: the Hugging Face hub."""
    output: Path | None = None
    """Where to save. Default: evaluations/core in the run, or in runs/base-NAME for a model that is no run."""

    max_examples: int | None = Field(default=None, ge=1)
    """Use only the first so many examples of each task; of MMLU's subjects equally many, and of each at least one."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    batch_size: int = Field(default=4, ge=1)
    """Prompts computed at once. Memory grows with it and with the vocabulary."""

    dtype: Dtype = "bfloat16"
    """The weights' type."""
    device: Device = "auto"
    """Where to compute."""


class IfevalConfig(BaseModel):
    """Measure, without a judge, how well a model keeps to instructions that a program can check (IFEval).

    There are 541 prompts; verdicts are strict and loose, by prompt and by instruction.

    For example:
        rt eval ifeval runs/mine
        rt eval ifeval embedded --max-examples 100 --max-new-tokens 256
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    output: Path | None = None
    """Where to save. Default: evaluations/ifeval in the run, or in runs/base-NAME for a model that is no run."""

    max_examples: int | None = Field(default=None, ge=1)
    """Use only the first so many of the 541 prompts."""
    max_new_tokens: int = Field(default=1280, ge=1)
    """The longest response, in tokens; the harness's limit is 1280."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    batch_size: int = Field(default=40, ge=1)
    """Prompts answered at once."""
    offline: bool = False
    """Fetch nothing: take the prompts from the cache or from the folder that RESPONSE_TUNING_ASSETS names."""

    dtype: Dtype = "bfloat16"
    """The weights' type."""
    device: Device = "auto"
    """Where to compute."""


UnsafePromptSet = Literal["advbench", "harmbench-standard", "harmbench-contextual", "malicious-instruct", "xstest"]
"""A benchmark of refusals."""


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


class RefusalsConfig(JudgedOptions):
    """Does a model refuse what is unsafe, and only that? AdvBench, HarmBench, MaliciousInstruct and XSTest.

    Without --judge a keyword tier decides, which reads English only; its results are labelled so.

    For example:
        rt eval refusals runs/mine --max-examples 100 --max-new-tokens 64
        rt eval refusals runs/mine --judge openai/gpt-5-mini --dry-run
    """

    sets: tuple[UnsafePromptSet, ...] = get_args(UnsafePromptSet)
    """Which benchmarks."""


class AlpacaConfig(JudgedOptions):
    """AlpacaEval: 805 instructions; a judge compares each response with a reference's, in both orders.

    Reports the win rate and the length-controlled win rate. Without --judge the responses are made and saved, in
    alpaca_eval's own format, and nothing is compared.

    For example:
        rt eval alpaca runs/mine --judge openai/gpt-5-mini --dry-run
        rt eval alpaca runs/rt --reference runs/it --judge openai/gpt-5-mini
    """

    max_new_tokens: int = Field(default=2048, ge=1)
    """The longest response, in tokens."""
    reference: str = "gpt4_1106_preview"
    """Whom to compare with: gpt4_1106_preview or text_davinci_003, a run that answered before, or a file of
    model outputs in AlpacaEval's order."""
    allow_unparsed: int = Field(default=0, ge=0)
    """How many instructions may end without a verdict. With more, there is no win rate: it could not be compared."""
    difficulty: Path | None = None
    """A table with index and instruction_difficulty, for the length-controlled rate. Default: the published one."""


class JustConfig(JudgedOptions):
    """JustEval: 800 regular and 200 unsafe prompts, rated by a judge from 1 to 5 on six aspects.

    Without --judge the responses are made and saved, and nothing is rated.

    For example:
        rt eval just runs/mine --judge openai/gpt-5-mini --dry-run
    """

    max_new_tokens: int = Field(default=2048, ge=1)
    """The longest response, in tokens."""
    prompts: Path | None = None
    """A file of prompts with the fields instruction and category (regular or safety). Default: the published one."""


class AgreementConfig(JudgeOptions):
    """Measure how far the keyword tier for refusals, and a judge, agree with people's labels.

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
    """Also write the result as JSON, with the lines of the rows that disagree."""


class EverythingConfig(JudgeOptions):
    """Every evaluation, one after the other: probe, ifeval, core, refusals, selective; with a judge alpaca and just.

    What cannot run (a missing file, a missing package) is named, and the others run all the same.

    For example:
        rt eval all runs/quickstart/rt runs/quickstart/it --max-examples 100 --data-dir data
    """

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model in this process: 'embedded', a folder or a .gguf file."""
    max_examples: int | None = Field(default=None, ge=1)
    """Use only so many prompts of each set."""
    data_dir: Path | None = None
    """A folder with the published files of the core capabilities, so that nothing is fetched."""
    offline: bool = False
    """Fetch nothing; where a file is missing, say which one and where to put it."""


class CompareConfig(BaseModel):
    """Compare what was measured on several runs, prompt by prompt: values, and paired differences to the first run.

    For example:
        rt compare runs/it runs/rt
        rt compare embedded runs/it runs/rt --tasks probe --output compared.json --report compared.html
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN RUN [RUN ...]", help_behavior_hint="(two or more)"),
    ] = ()
    """Two or more runs or other models that were evaluated; the first is what the others are compared with."""
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="")] = ()
    """Compare only these evaluations, such as probe or ifeval. By default all that every run has."""
    output: Path | None = None
    """Also write the result as JSON."""
    report: Path | None = None
    """Also write the result as an HTML page."""


ConfidenceName = Literal["likelihood", "self", "judge"]
"""What tells how sure to be of a response before it is shown."""


class SelectiveConfig(JudgedOptions):
    """Would a model do better to keep back its doubtful responses? Quality against coverage, and a threshold.

    Each response gets a confidence before it is shown: how likely it is to the model (likelihood), how the model rates
    it (self), or how a judge rates it (judge). Measured is how far that confidence tells good responses from bad ones,
    and how much can be shown at a wanted quality.

    For example:
        rt eval selective runs/mine --wanted-quality 0.9 --plot curve.png
        rt eval selective runs/mine --confidence likelihood self judge --judge embedded-instruct
        rt eval selective runs/mine --quality-judge openai/gpt-5-mini --dry-run
    """

    data: str = STARTER_HELD_OUT
    """A JSONL file with 'prompt' and 'completion' in every row; or 'starter-held-out'."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The longest response, in tokens; one that goes on has not stopped."""
    confidence: tuple[ConfidenceName, ...] = ("likelihood", "self")
    """Which confidences to measure. judge needs --judge; the others a model in this process."""
    wanted_quality: float = Field(default=0.9, ge=0, le=1)
    """The share of good responses wanted among those that are shown. A threshold for it is chosen on one half of the
    responses and reported on the other."""
    quality_judge: str | None = None
    """Who decides what a good response is: one that this judge, who sees the reference as well, rates 4 or 5.
    Default: nobody; good is a response that stops, neither echoes nor repeats, and is relevant, as 'answers' in rt
    probe."""
    quality_judge_base_url: str | None = None
    """The address of that judge's server, where it has one of its own."""
    plot: Path | None = None
    """Also draw the curves: a .png, .svg or .pdf file."""
    seed: int = 0
    """Decides which half the threshold is chosen on."""
