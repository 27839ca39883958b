"""``rt data mix-refusals``: how many refusals does a training set need?

Source: An & Kim 2024, section 4; Bianchi et al. 2024.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt

from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import STARTER_LOOK_ALIKES, STARTER_REFUSALS, load_examples
from response_tuning.example import Example, check_output, write_examples
from response_tuning.support.errors import UserError

__all__ = ["SAFETY_TUNED_LLAMAS", "KeepRefusals", "MixRefusalsConfig", "Mixed", "mix_refusals", "passes_paper_filter"]

SAFETY_TUNED_LLAMAS = "safety-tuned-llamas"
_PAPER_WORDS = re.compile(r"\b(ai|sorry)\b", re.IGNORECASE)

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


class MixRefusalsConfig(BaseModel):
    """Add refusals to a training set; several counts write a series of files, to find out how many are needed.

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
    """The number of refusals to add, or several numbers separated by commas: 10,50,100,500."""
    refusals: str = "starter-refusals"
    """The source of refusals: starter-refusals (60, CC0), safety-tuned-llamas (1,829, the paper's), or a file."""
    keep: KeepRefusals = "auto"
    """Which rows count as refusals. paper: those whose response has the word "AI" or "sorry". all: every row. auto:
    paper for safety-tuned-llamas, otherwise all."""
    look_alikes: bool = False
    """Also add the harmless twin of each starter refusal, so that the model does not learn to refuse certain words."""
    seed: int = 0
    """The seed of the draw of refusals. 0 is the paper's."""
    offline: bool = False
    """Fetch nothing; if a file is missing, the error says which one and where to put it."""


@dataclass(frozen=True)
class Mixed:
    """The counts of refusals and the files written."""

    refusals_read: int
    refusals_kept: int
    """Those that passed the filter."""
    outputs: dict[Path, int]
    """The number of rows in each file."""


def mix_refusals(config: MixRefusalsConfig) -> Mixed:
    """Write the training set followed by N refusals, for each N. A larger mix contains the smaller ones.

    Raises:
        UserError: a source cannot be read, or has fewer refusals than asked for.
    """
    outputs = {count: _output(config.output, count, of=config.count) for count in config.count}
    for output in outputs.values():
        check_output(output, config.source, config.refusals)
    examples = load_examples(config.source)
    read = load_examples(config.refusals, offline=config.offline)
    kept = [example for example in read if not _is_filtered(config) or passes_paper_filter(example)]
    if max(config.count) > len(kept):
        raise UserError(
            f"{config.refusals} has {len(kept):,} refusals ({len(read):,} rows before the filter), fewer than "
            f"--count {max(config.count):,}. Lower it, or name another --refusals."
        )
    look_alikes = _look_alikes(config)
    written: dict[Path, int] = {}
    for count, output in outputs.items():
        added = draw(kept, count, seed=config.seed) if count else []
        twins = [look_alikes[_pair(refusal)] for refusal in added] if look_alikes else []
        rows = [*examples, *_marked(added, config.refusals), *_marked(twins, STARTER_LOOK_ALIKES)]
        write_examples(output, rows)
        written[output] = len(rows)
    return Mixed(len(read), len(kept), written)


def passes_paper_filter(example: Example) -> bool:
    """Whether the response has the word "AI" or "sorry", by which the paper selects refusals."""
    return _PAPER_WORDS.search(example.completion) is not None


def _is_filtered(config: MixRefusalsConfig) -> bool:
    return config.keep == "paper" or (config.keep == "auto" and config.refusals == SAFETY_TUNED_LLAMAS)


def _output(output: Path, count: int, *, of: Sequence[int]) -> Path:
    """The file for one count; the files of a series have the count in their names."""
    return output if len(of) == 1 else output.with_name(f"{output.stem}-{count}{output.suffix}")


def _look_alikes(config: MixRefusalsConfig) -> dict[int, Example]:
    """The harmless twins of the starter refusals, by the number of their pair."""
    if not config.look_alikes:
        return {}
    if config.refusals != STARTER_REFUSALS:
        raise UserError(f"--look-alikes belong to --refusals {STARTER_REFUSALS}; {config.refusals} has none.")
    return {_pair(example): example for example in load_examples(STARTER_LOOK_ALIKES)}


def _pair(example: Example) -> int:
    number = (example.model_extra or {})["pair"]
    assert isinstance(number, int)
    return number


def _marked(examples: Sequence[Example], source: str) -> list[Example]:
    """The rows with their source in a field, so that they can be found in the mix."""
    fields: list[dict[str, Any]] = [example.model_dump(exclude_unset=True) for example in examples]
    return [Example.model_validate({**row, "mixed_from": source}) for row in fields]
