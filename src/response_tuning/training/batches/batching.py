"""Which examples make an optimizer step, and how a step is split into micro-batches."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, padded_groups

__all__ = [
    "IDLE",
    "MicroBatch",
    "Unit",
    "batches_of_like_length",
    "epoch_batches",
    "micro_batches",
    "tokens_of",
    "units",
]

Item = TypeVar("Item")

_SORTING_WINDOW_BATCHES = 8


@dataclass(frozen=True)
class Unit:
    """Examples that are never separated: they belong to one process and to one micro-batch.

    For most objectives that is one example. Where a loss needs two together, such as a pair that is mixed or the
    chosen and the rejected response to a prompt, they are one unit; it is distributed and packed like one example that
    has the tokens of both.
    """

    examples: tuple[EncodedExample, ...]
    note: object = None
    """What its objective knows about it, such as the mixing coefficient of a pair."""

    @property
    def tokens(self) -> int:
        """The number of tokens, without padding."""
        return sum(len(example.input_ids) for example in self.examples)

    @property
    def longest(self) -> int:
        """The tokens of the longest example."""
        return max(len(example.input_ids) for example in self.examples)

    @property
    def supervised_count(self) -> int:
        """The number of supervised tokens."""
        return sum(example.supervised_count for example in self.examples)


def units(examples: Iterable[EncodedExample]) -> list[Unit]:
    """A unit for each example."""
    return [Unit((example,)) for example in examples]


@dataclass(frozen=True)
class MicroBatch:
    """What is computed at once: a batch, and the units that its rows come from, in order."""

    batch: Batch
    units: Sequence[Unit]
    """None where a process has nothing to compute, but has to take part in what the others do."""


def _idle_micro_batch() -> MicroBatch:
    zero = torch.zeros(1, dtype=torch.long)
    return MicroBatch(Batch(torch.zeros((1, 2), dtype=torch.long), zero, zero, zero), ())


IDLE = _idle_micro_batch()
"""The smallest micro-batch: one token that predicts another, of no unit."""


def tokens_of(example: EncodedExample) -> int:
    """The number of tokens of an example."""
    return len(example.input_ids)


def epoch_batches(examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[EncodedExample]]:
    """One epoch of optimizer steps, as ``shuffled_batches`` makes them."""
    return shuffled_batches(examples, batch_size=batch_size, seed=seed, length=tokens_of)


def shuffled_batches(
    items: Sequence[Item], *, batch_size: int, seed: int, length: Callable[[Item], int]
) -> list[list[Item]]:
    """One epoch of optimizer steps, each of ``batch_size`` items of similar length (the last may hold fewer).

    Items, examples or units, are shuffled, sorted by length within windows of a few batches, split into batches, and
    the batches shuffled: there is little padding, and every epoch differs. The same seed gives the same batches.
    """
    generator = random.Random(seed)
    shuffled = generator.sample(list(items), len(items))
    batches = batches_of_like_length(shuffled, batch_size=batch_size, length=length)
    generator.shuffle(batches)
    return batches


def batches_of_like_length(
    shuffled: Sequence[Item], *, batch_size: int, length: Callable[[Item], int]
) -> list[list[Item]]:
    """Split shuffled items into batches, sorted by length within windows of a few batches."""
    window = batch_size * _SORTING_WINDOW_BATCHES
    batches: list[list[Item]] = []
    for start in range(0, len(shuffled), window):
        by_length = sorted(shuffled[start : start + window], key=length)
        batches += [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
    return batches


def micro_batches(batch: Sequence[Unit], *, tokens: int) -> list[list[Unit]]:
    """Split a batch into parts of at most ``tokens`` padded tokens each (or one unit, if that alone has more)."""
    sizes = [(len(unit.examples), unit.longest) for unit in batch]
    return [[batch[index] for index in group] for group in padded_groups(sizes, tokens=tokens)]
