"""The options of the data commands."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt

from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.sources.load import SplitAt
from response_tuning.support.options import EMBEDDED, FormatName, Method, SingleTask

__all__ = [
    "BadRows",
    "CheckConfig",
    "Defect",
    "KeepRefusals",
    "MixRefusalsConfig",
    "NonInstructionalConfig",
    "PrepareConfig",
    "RefineConfig",
    "RolesAndRulesConfig",
    "SingleTaskConfig",
]

BadRows = Literal["error", "drop"]
"""What to do with rows that cannot be used."""
Defect = Literal["unreadable", "nul", "too-long", "duplicate", "near-duplicate", "contaminated"]
"""What can be wrong with a row, so that a cleaned file goes without it."""

KeepRefusals = Literal["auto", "paper", "all"]
"""Which rows of a source count as refusals."""


def _counts(arguments: list[str]) -> tuple[int, ...]:
    return tuple(int(count) for count in arguments[0].split(","))


Counts = Annotated[
    tuple[NonNegativeInt, ...],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="N[,N...]",
        instance_from_str=_counts,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda counts: [",".join(map(str, counts))],
    ),
    BeforeValidator(lambda value: (value,) if isinstance(value, int) else value),
    Field(min_length=1),
]
"""One or more numbers, separated by commas on the command line."""


class PrepareConfig(BaseModel):
    """Make a JSONL file of examples from any source.

    SOURCE is a data set by name (starter, starter-held-out, starter-refusals, starter-look-alikes, alpaca,
    alpaca-original, dolly, lima), one of the Hugging Face hub (hub:OWNER/NAME), a file (.jsonl .json .csv .tsv
    .parquet .md .txt, or any of them with .gz), or a folder of .md and .txt files, which become bare responses.

    For example:
        rt data prepare alpaca --max-examples 1000 --output alpaca.jsonl
        rt data prepare replies.csv --completion-field reply --prompt-field question --output replies.jsonl
        rt data prepare docs/ --split-at headings --output docs.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """Where the rows come from."""
    output: Path
    """The JSONL file to write."""
    max_examples: int | None = Field(default=None, ge=1)
    """Take only so many rows, drawn as the paper draws them: all rows are shuffled and the first ones taken."""
    seed: int = 0
    """Decides which rows are drawn. 0 gives the subsets of the paper."""
    bad_rows: BadRows = "error"
    """error: name all bad rows and write nothing. drop: name them and go on without them."""

    completion_field: str | None = None
    """The field with the response. Default: 'completion', or a conversation in 'messages'."""
    prompt_field: str | None = None
    """The field with the instruction. Default: 'prompt'."""
    context_field: str | None = None
    """A field that follows the instruction after a blank line, such as Alpaca's 'input'."""
    split_at: SplitAt = "files"
    """What becomes a response in text files: each file, or each section under a heading."""

    subset: str | None = None
    """The configuration of a hub data set, where it has several."""
    split: str = "train"
    """The split of a hub data set."""
    revision: str | None = None
    """The commit or tag of a hub data set."""
    offline: bool = False
    """Fetch nothing; where a file is missing, say which one and where to put it."""


class CheckConfig(BaseModel):
    """Look at a data set before training on it: every defect by its line, lengths, and what the model will see.

    For example:
        rt data check answers.jsonl
        rt data check answers.jsonl --fix clean.jsonl --plot lengths.png --report report.json
        rt data check pairs.jsonl --method it --model Qwen/Qwen3-0.6B-Base --show 12
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """A file, or any other source that 'rt data prepare' reads without naming fields."""
    report: Path | None = None
    """Also write everything that was found as JSON."""
    fix: Path | None = None
    """Write a cleaned JSONL file, and beside it FILE.removed.jsonl with what was left out and why."""
    remove: tuple[Defect, ...] = ("unreadable", "nul", "too-long", "duplicate", "near-duplicate", "contaminated")
    """What the cleaned file goes without. Unreadable rows are always left out."""
    plot: Path | None = None
    """Draw the lengths as a histogram (.png, .svg or .pdf)."""

    near: float = Field(default=0.8, gt=0, le=1)
    """Two rows are near-duplicates from this share of common three-word runs on (Jaccard, estimated)."""
    against: tuple[str, ...] = ()
    """Evaluation sets to look for in the rows: files, or advbench, harmbench, malicious-instruct, xstest, ifeval,
    mt-bench, alpaca-eval, just-eval. Default: the starter's held-out pairs, and those of the list that were fetched
    before."""
    max_characters: int = Field(default=100_000, ge=1)
    """Longer responses are defects."""

    model: str = EMBEDDED
    """The model whose tokenizer counts: 'embedded', a run, a folder, a hub id; or 'none' to count no tokens."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format, as in training."""
    method: Method = "rt"
    """What to count tokens for: responses alone (rt), or pairs (it)."""
    max_length: int = Field(default=2048, ge=8)
    """The most tokens an example may have, as in training."""
    show: int | None = Field(default=None, ge=1)
    """The line whose tokens are shown, supervised ones in colour. Default: the first good one."""
    offline: bool = False
    """Fetch nothing."""


class RefineConfig(AskOptions):
    """Have a language model rewrite each response for clarity, structure and tone; what it says is kept.

    Every row ends as "refined" or "kept: why", and OUTPUT.audit.jsonl holds every answer. The same command goes on
    where it was broken off, and asks for no row twice.

    For example:
        rt data refine answers.jsonl --output refined.jsonl
        rt data refine answers.jsonl --model openai/gpt-5-mini --output refined.jsonl --dry-run
        LOCAL_API_KEY=none rt data refine answers.jsonl --model openai-api/local/Qwen3-8B \\
            --base-url http://127.0.0.1:8000/v1 --output refined.jsonl
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write; its rows keep what they were as source_completion."""
    shortest_share: float = Field(default=0.5, ge=0, le=1)
    """A revision with a smaller share of the original's characters is not taken."""
    show_prompts: bool = False
    """Show the model the prompt of a row that has one, too. It helps large models and confuses small ones."""


class MixRefusalsConfig(BaseModel):
    """Add refusals to a training set; several counts write a series, to see how many refusals it takes.

    For example:
        rt data mix-refusals answers.jsonl --refusals starter-refusals --count 50 --look-alikes --output mixed.jsonl
        rt data mix-refusals alpaca.jsonl --refusals safety-tuned-llamas --count 10,50,100,500 --output mixed.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """The training set: a file, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write; for several counts, mixed.jsonl becomes mixed-10.jsonl, mixed-50.jsonl, ..."""
    count: Counts
    """How many refusals to add, or several numbers separated by commas: 10,50,100,500."""
    refusals: str = "starter-refusals"
    """Where refusals come from: starter-refusals (60, CC0), safety-tuned-llamas (1,829, the paper's), or a file."""
    keep: KeepRefusals = "auto"
    """paper: rows whose response has the word "AI" or "sorry". all: every row. auto: paper for safety-tuned-llamas."""
    look_alikes: bool = False
    """Add the harmless twin of each starter refusal, too, so that its words alone are not refused."""
    seed: int = 0
    """Decides which refusals are drawn. 0 is the paper's."""
    offline: bool = False
    """Fetch nothing; where a file is missing, say which one and where to put it."""


class NonInstructionalConfig(BaseModel):
    """Make pairs of ordinary texts: the first half is the prompt, its continuation the response (Xie et al. 2024).

    For example:
        rt data non-instructional books/ --output halves.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """A folder of .md and .txt files, or any other source of texts; of rows, the response is the text."""
    output: Path
    """The JSONL file to write."""
    split_at: SplitAt = "files"
    """What is a text in text files: each file, or each section under a heading."""
    least_words: int = Field(default=40, ge=2)
    """Shorter texts are left out."""
    most_words: int = Field(default=400, ge=2)
    """Longer texts are cut between paragraphs into several."""


class SingleTaskConfig(BaseModel):
    """Make a training set of one narrow task, to see whether it teaches to follow instructions (Hewitt et al. 2024).

    For example:
        rt data single-task gsm8k --first 1000 --output gsm8k.jsonl
        rt data single-task chess --file games.jsonl --output chess.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[SingleTask, tyro.conf.Positional]
    """gsm8k (question, answer), mbpp (text, code), poetry (title, content), recipes (title, ingredients, directions) or
    chess (WhiteElo, BlackElo, Result, moves)."""
    output: Path
    """The JSONL file to write."""
    file: Path | None = None
    """A file of rows with those fields. gsm8k and mbpp are fetched where none is named."""
    first: int | None = Field(default=None, ge=1)
    """Take only the first rows."""
    offline: bool = False
    """Fetch nothing; where a file is missing, say which one and where to put it."""


class RolesAndRulesConfig(AskOptions):
    """Have a model invent a system prompt of role and rules for each pair, and answer under it (Wang et al. 2024).

    The same command goes on where it was broken off; OUTPUT.audit.jsonl holds every answer.

    For example:
        rt data roles-and-rules pairs.jsonl --model openai/gpt-5-mini --output rules.jsonl --dry-run
    """

    source: Annotated[str, tyro.conf.Positional]
    """A file of pairs, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write."""
