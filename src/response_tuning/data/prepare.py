"""Make a JSONL file of examples from any source."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from response_tuning.data.data_config import PrepareConfig
from response_tuning.data.sources.fields import Fields
from response_tuning.data.sources.load import SourceOptions, read_rows
from response_tuning.data.sources.records import BadRow
from response_tuning.example import Row, check_output, only_good, write_examples
from response_tuning.support.errors import UserError

__all__ = ["Prepared", "draw", "prepare"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Prepared:
    """What became of the rows of a source."""

    read: int
    written: int
    dropped: list[BadRow]


def prepare(config: PrepareConfig) -> Prepared:
    """Read a source, draw from it, and write the examples. The same options give the same bytes.

    Raises:
        UserError: the source cannot be read, has bad rows (with ``bad_rows`` "error"), or has no good ones.
    """
    check_output(config.output)
    rows = read_rows(config.source, _options(config))
    # Drawn before bad rows are dropped, by position among all rows, as the paper's code does: the same rows come out.
    drawn = draw(rows, config.max_examples, seed=config.seed)
    dropped = [row for row in drawn if isinstance(row, BadRow)]
    good = [row for row in drawn if isinstance(row, Row)]
    if dropped and config.bad_rows == "error":
        try:
            only_good(drawn, source=config.source)
        except UserError as error:
            raise UserError(f"{error}\nNothing was written. --bad-rows drop goes on without these rows.") from None
    examples = only_good(good, source=config.source)
    write_examples(config.output, examples)
    return Prepared(len(rows), len(examples), dropped)


def draw(items: Sequence[Item], count: int | None, *, seed: int) -> list[Item]:
    """Draw ``count`` items the way the reference implementation does: shuffle all positions, take the first ones.

    Where there are no more than ``count``, all of them are returned in their order.
    """
    if count is None or count >= len(items):
        return list(items)
    positions = list(range(len(items)))
    random.Random(seed).shuffle(positions)
    return [items[position] for position in positions[:count]]


def _options(config: PrepareConfig) -> SourceOptions:
    return SourceOptions(
        fields=Fields(config.completion_field, config.prompt_field, config.context_field),
        split_at=config.split_at,
        subset=config.subset,
        split=config.split,
        revision=config.revision,
        offline=config.offline,
    )
