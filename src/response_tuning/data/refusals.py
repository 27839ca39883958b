"""Mix refusals into a training set: how many does it take? (An & Kim 2024, section 4; Bianchi et al. 2024.)"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.data_config import MixRefusalsConfig
from response_tuning.data.prepare import draw
from response_tuning.data.sources.load import STARTER_LOOK_ALIKES, STARTER_REFUSALS, load_examples
from response_tuning.example import Example, check_output, write_examples
from response_tuning.support.errors import UserError

__all__ = ["SAFETY_TUNED_LLAMAS", "Mixed", "mix_refusals", "passes_paper_filter"]

SAFETY_TUNED_LLAMAS = "safety-tuned-llamas"
_PAPER_WORDS = re.compile(r"\b(ai|sorry)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Mixed:
    """What was mixed."""

    refusals_read: int
    refusals_kept: int
    """Those that passed the filter."""
    outputs: dict[Path, int]
    """The files written, and the rows in each."""


def mix_refusals(config: MixRefusalsConfig) -> Mixed:
    """Write the training set with N refusals behind it, for each N; larger mixes hold the smaller ones.

    Raises:
        UserError: a source cannot be read, or has fewer refusals than asked for.
    """
    outputs = {count: _output(config.output, count, of=config.count) for count in config.count}
    for output in outputs.values():
        check_output(output, config.source)
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
    """Whether the response has the word "AI" or "sorry", the paper's sign of a refusal."""
    return _PAPER_WORDS.search(example.completion) is not None


def _is_filtered(config: MixRefusalsConfig) -> bool:
    return config.keep == "paper" or (config.keep == "auto" and config.refusals == SAFETY_TUNED_LLAMAS)


def _output(output: Path, count: int, *, of: Sequence[int]) -> Path:
    """The file of one count; a series has the count in its names."""
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
    """The rows with a field that says where they came from, to find them again in the mix."""
    fields: list[dict[str, Any]] = [example.model_dump(exclude_unset=True) for example in examples]
    return [Example.model_validate({**row, "mixed_from": source}) for row in fields]
