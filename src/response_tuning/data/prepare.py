"""``rt data prepare``: a JSONL file of examples from any source."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sampling import draw
from response_tuning.data.sources.fields import Fields
from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.data.sources.named_layouts import Layout
from response_tuning.data.sources.source import SplitAt
from response_tuning.example import Row, check_output, only_good, write_examples
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow

__all__ = ["BadRows", "PrepareConfig", "PreparedData", "prepare"]

BadRows = Literal["error", "drop"]
"""What to do with rows that cannot be used."""


class PrepareConfig(BaseModel):
    """Make a JSONL file of examples from any source.

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
    """Draw at most this many rows, as the paper does: shuffle all rows and take the first ones."""
    seed: int = 0
    """The seed of the draw. 0 gives the subsets of the paper."""
    bad_rows: BadRows = "error"
    """error: list all bad rows and write nothing. drop: list them and write the others."""

    completion_field: str | None = None
    """The field with the response. a.b[0].c leads into nested values. Without any named field, the layout
    is recognised: prompt and completion, conversations, Alpaca and others (docs/data-layouts.md)."""
    prompt_field: str | None = None
    """The field with the instruction. Defaults to 'prompt' where another field is named."""
    context_field: str | None = None
    """A field to append to the instruction after a blank line, such as Alpaca's 'input'."""
    layout: Layout = "auto"
    """How the rows are written. auto: recognise it for each row, and name it. Others: read the fields of this layout
    where a row has those of several, and report rows that lack them."""
    requests: Path | None = None
    """The input file of a batch, where the source is its output file: the prompts come from there, by custom_id."""
    keep_system: bool = False
    """Also keep the system message of a conversation in a field 'system', for rt train --system role or --rt-keeps
    system. Without, it is only at the head of the user's turn."""
    split_at: SplitAt = "files"
    """What becomes a response in text files: each file, or each section under a heading."""

    subset: str | None = None
    """The configuration of a hub data set, where it has several."""
    split: str = "train"
    """The split of a hub data set, or of a folder whose files are named after splits."""
    revision: str | None = None
    """The commit or tag of a hub data set."""
    offline: bool = False
    """Fetch nothing; if a file is missing, the error says which one and where to put it."""


@dataclass(frozen=True)
class PreparedData:
    """Counts of rows read and written, and the rows dropped."""

    read: int
    written: int
    dropped: list[BadRow]


def prepare(config: PrepareConfig) -> PreparedData:
    """Read a source, draw from it, and write the examples. The same options give the same bytes.

    Raises:
        UserError: the source cannot be read, has bad rows (with ``bad_rows`` "error"), or has no good ones.
    """
    check_output(config.output, config.source, config.requests)
    if config.layout != "auto" and (config.completion_field or config.prompt_field or config.context_field):
        raise UserError("--layout says where prompt and response are, and so do the options --...-field. Use one.")
    if config.requests is not None and not Path(config.source).exists():
        raise UserError(f"--requests belongs to the output file of a batch, and {config.source} is no file.")
    rows = read_rows(config.source, _options(config))
    # Drawn by position among all rows, before bad ones are dropped: the paper's code draws the same rows.
    drawn = draw(rows, config.max_examples, seed=config.seed)
    dropped = [row for row in drawn if isinstance(row, BadRow)]
    good = [row for row in drawn if isinstance(row, Row)]
    if dropped and (config.bad_rows == "error" or not good):
        advice = " Add --bad-rows drop to leave these rows out." if good else ""
        try:
            only_good(drawn, source=config.source)
        except UserError as error:
            raise UserError(f"{error}\nNothing was written.{advice}") from None
    examples = only_good(good, source=config.source)
    write_examples(config.output, examples)
    return PreparedData(len(rows), len(examples), dropped)


def _options(config: PrepareConfig) -> SourceOptions:
    return SourceOptions(
        fields=Fields(config.completion_field, config.prompt_field, config.context_field),
        layout=config.layout,
        split_at=config.split_at,
        subset=config.subset,
        split=config.split,
        revision=config.revision,
        offline=config.offline,
        keeps_system=config.keep_system,
        requests=config.requests,
        command=command("data", "prepare", config.source, options=_typed(config)),
    )


def _typed(config: PrepareConfig) -> dict[str, Any]:
    """The options that were typed, without the fields, which an error suggests."""
    fields = {"source", "completion_field", "prompt_field", "context_field"}
    return config.model_dump(exclude_defaults=True, exclude=fields)
