"""The options of ``rt data check``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.support.options import EMBEDDED, FormatName, Method

__all__ = ["CheckConfig", "Defect"]

Defect = Literal["unreadable", "nul", "too-long", "duplicate", "near-duplicate", "contaminated"]
"""What can be wrong with a row, so that it is left out of a cleaned file."""


class CheckConfig(BaseModel):
    """Inspect a data set before training on it: every defect by its line, lengths, and one example as tokens.

    For example:
        rt data check answers.jsonl
        rt data check answers.jsonl --fix clean.jsonl --plot lengths.png --report report.json
        rt data check pairs.jsonl --method it --model Qwen/Qwen3-0.6B-Base --show 12
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """A file, or any other source that 'rt data prepare' reads without naming fields."""
    report: Path | None = None
    """Also write all findings to this file as JSON."""
    fix: Path | None = None
    """Write a cleaned JSONL file, and FILE.removed.jsonl beside it with each removed row and the reason."""
    remove: tuple[Defect, ...] = ("unreadable", "nul", "too-long", "duplicate", "near-duplicate", "contaminated")
    """The defects that --fix removes. Unreadable rows are always removed."""
    plot: Path | None = None
    """Draw a histogram of lengths (.png, .svg or .pdf)."""

    near: float = Field(default=0.8, gt=0, le=1)
    """The similarity from which two rows are near-duplicates: the estimated Jaccard index of their word 3-grams."""
    against: tuple[str, ...] = ()
    """Evaluation sets to look for in the rows: files, or advbench, harmbench, malicious-instruct, xstest, ifeval,
    mt-bench, alpaca-eval, just-eval. Defaults to the starter's held-out pairs and those sets that are in the cache."""
    max_characters: int = Field(default=100_000, ge=1)
    """Longer responses are defects."""

    model: str = EMBEDDED
    """The model whose tokenizer counts tokens: 'embedded', a run, a folder, a hub id; 'none' counts no tokens."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format, as in training."""
    method: Method = "rt"
    """What to count tokens for: responses alone (rt), or pairs (it)."""
    max_length: int = Field(default=2048, ge=8)
    """The maximum length of an example in tokens, as in training."""
    show: int | None = Field(default=None, ge=1)
    """The line to print as tokens, with the supervised ones in colour. Defaults to the first good one."""
    offline: bool = False
    """Fetch nothing."""
