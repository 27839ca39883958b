"""All responses of a data set, of which only some keep their instruction: the points between RT and IT.

``rt train --method mixed`` trains such a file: rows with an instruction as instruction tuning does, the others as
response tuning does. With none kept it is response tuning, with all kept instruction tuning, token for token.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example
from response_tuning.support.errors import UserError

__all__ = ["KeepInstructions", "KeepInstructionsConfig", "with_instructions_kept"]

_OF_INSTRUCTION = ("prompt", "earlier_turns")


class KeepInstructionsConfig(BaseModel):
    """Keep the instructions of some rows only, or shuffle them among the rows, to measure what they are worth.

    For example:
        rt data keep-instructions starter --keep 20 --output twenty.jsonl
        rt data keep-instructions starter --shuffle --output shuffled.jsonl
        rt train --method mixed --data twenty.jsonl --output runs/twenty
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, tyro.conf.Positional]
    """The training set: a file, or any other source that 'rt data prepare' reads without naming fields."""
    output: Path
    """The JSONL file to write: every row, in the order of the source."""
    keep: int | None = Field(default=None, ge=0)
    """How many rows keep their instruction, drawn at random. Defaults to all. A larger number contains the smaller."""
    shuffle: bool = False
    """Give each kept instruction to another of the kept rows, so that no response answers the one before it."""
    seed: int = 0
    """The seed of the draw and of the shuffle."""
    offline: bool = False
    """Fetch nothing; if a file is missing, the error says which one and where to put it."""


class KeepInstructions:
    """``rt data keep-instructions``."""

    name = "keep-instructions"
    config = KeepInstructionsConfig

    def make(self, config: KeepInstructionsConfig) -> Made:
        """Read the source and remove or shuffle instructions.

        Raises:
            UserError: the source cannot be read, or has fewer instructions than are to be kept.
        """
        examples = load_examples(config.source, offline=config.offline)
        having = sum(_has_prompt(example) for example in examples)
        keep = having if config.keep is None else config.keep
        if keep > having:
            raise UserError(
                f"{config.source} has {having:,} rows with an instruction, fewer than --keep {keep:,}. Lower it."
            )
        if config.shuffle and keep == 1:
            raise UserError("--shuffle needs two instructions or more: a single one has no other row to go to.")
        kept = with_instructions_kept(examples, keep, shuffle=config.shuffle, seed=config.seed)
        return Made(kept, {"with an instruction": keep, "without one": len(kept) - keep})


def with_instructions_kept(examples: Sequence[Example], keep: int, *, shuffle: bool, seed: int) -> list[Example]:
    """The examples in their order, of which ``keep`` have an instruction: their own, or that of another kept one.

    Args:
        examples: at least ``keep`` of them have an instruction.
        keep: how many rows keep theirs; those of a smaller number with the same seed are among them.
        shuffle: move each instruction to another kept row, along a random cycle, so that none stays.
        seed: of the draw and of the cycle.
    """
    positions = [position for position, example in enumerate(examples) if _has_prompt(example)]
    random.Random(seed).shuffle(positions)
    kept = positions[:keep]
    sources = dict(zip(kept, [*kept[1:], *kept[:1]] if shuffle else kept, strict=True))
    return [
        _with_instruction_of(example, examples[sources[position]] if position in sources else None)
        for position, example in enumerate(examples)
    ]


def _has_prompt(example: Example) -> bool:
    return bool((example.prompt or "").strip())


def _with_instruction_of(example: Example, other: Example | None) -> Example:
    row = {name: value for name, value in example.model_dump(exclude_unset=True).items() if name not in _OF_INSTRUCTION}
    instruction = {} if other is None else other.model_dump(exclude_unset=True, include=set(_OF_INSTRUCTION))
    return Example.model_validate({**row, **instruction})
