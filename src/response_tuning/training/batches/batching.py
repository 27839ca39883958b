"""Which examples make an optimizer step, how they are laid out in memory, and which of their tokens are supervised."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from response_tuning.conversation import EncodedExample

__all__ = [
    "Batch",
    "Mixtures",
    "Pair",
    "Piece",
    "batches_of_like_length",
    "collate",
    "epoch_batches",
    "filling",
    "length_sorted_groups",
    "members",
    "micro_batches",
]

_SORTING_WINDOW_BATCHES = 8
_ROUND_TOKENS = 32


@dataclass(frozen=True)
class Pair:
    """Two examples that stay in one micro-batch, since mixtures of their hidden states are trained on as well.

    It has the tokens of both, so it is shared out and packed like one example of that length.
    """

    confident: EncodedExample
    unconfident: EncodedExample
    confident_share: float
    """How much of a mixture is the confident one's, from 0 to 1."""

    @property
    def input_ids(self) -> list[int]:
        """The token ids of both."""
        return self.confident.input_ids + self.unconfident.input_ids

    @property
    def supervised_count(self) -> int:
        """The number of supervised tokens of both."""
        return self.confident.supervised_count + self.unconfident.supervised_count


Piece = EncodedExample | Pair
"""What is never cut: it belongs to one process and to one micro-batch."""
AnyPiece = TypeVar("AnyPiece", bound=Piece)


def members(pieces: Sequence[Piece]) -> list[EncodedExample]:
    """The examples that ``pieces`` are made of, in order."""
    return [
        example
        for piece in pieces
        for example in ((piece.confident, piece.unconfident) if isinstance(piece, Pair) else (piece,))
    ]


def filling(tokens: int) -> int:
    """How many tokens fill a packed row, or the loss of so many tokens, up to a round number.

    Processors prepare their products for every number of rows anew, and keep what they have prepared: with a few round
    numbers the memory of a long training grows less (docs/log.md).
    """
    return -tokens % _ROUND_TOKENS


@dataclass(frozen=True)
class Mixtures:
    """Which supervised tokens of a batch are mixed with which (``training.objectives.sftmix.mixtures``)."""

    first: Tensor
    """[mixtures] indices into the supervised tokens of the batch."""
    second: Tensor
    """[mixtures] the ones that they are mixed with."""
    first_share: Tensor
    """[mixtures] how much of each mixture is the first one's, in fp32."""

    def to(self, device: torch.device) -> "Mixtures":
        """The same on ``device``."""
        return Mixtures(self.first.to(device), self.second.to(device), self.first_share.to(device))


@dataclass(frozen=True)
class Batch:
    """Right-padded rows of one example each, or one packed row of several; and where a supervised token is predicted.

    Padded rows need no attention mask: attention is causal and the padding stands behind, so no real token sees it.
    What the padding holds is of no account either, since masking is by position and not by token id. In a packed row
    it is the positions, which restart, that tell the model where an example begins (``training.batches.packing``).
    """

    input_ids: Tensor
    """[rows, length]"""
    predicting_positions: Tensor
    """[supervised tokens] indices into the flattened rows: the position before each supervised token."""
    targets: Tensor
    """[supervised tokens] the ids that are predicted there."""
    rows: Tensor
    """[supervised tokens] the row that each belongs to; in a packed row the example, counted from 0."""
    position_ids: Tensor | None = None
    """[1, length] positions of the tokens of a packed row, from 0 in every example; None for padded rows."""
    mixtures: Mixtures | None = None
    """What is trained on beside the supervised tokens themselves, if anything is."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on ``device``."""
        return Batch(
            self.input_ids.to(device),
            self.predicting_positions.to(device),
            self.targets.to(device),
            self.rows.to(device),
            None if self.position_ids is None else self.position_ids.to(device),
            None if self.mixtures is None else self.mixtures.to(device),
        )


def collate(examples: Sequence[EncodedExample]) -> Batch:
    """Lay examples out as one batch."""
    length = max(len(example.input_ids) for example in examples)
    input_ids = torch.zeros((len(examples), length), dtype=torch.long)
    positions, rows = [], []
    for row, example in enumerate(examples):
        input_ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        positions.append(row * length + torch.arange(example.prompt_length - 1, len(example.input_ids) - 1))
        rows.append(torch.full((example.supervised_count,), row))
    predicting = torch.cat(positions)
    return Batch(input_ids, predicting, input_ids.flatten()[predicting + 1], torch.cat(rows))


def epoch_batches(examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[EncodedExample]]:
    """One epoch of optimizer steps, each of ``batch_size`` examples of like length (the last may hold fewer).

    Examples are shuffled, sorted by length within windows of a few batches, cut into batches, and the batches
    shuffled: little is padded, and every epoch is another one. The same seed gives the same batches.
    """
    generator = random.Random(seed)
    shuffled = generator.sample(list(examples), len(examples))
    batches = batches_of_like_length(shuffled, batch_size=batch_size)
    generator.shuffle(batches)
    return batches


def batches_of_like_length(shuffled: Sequence[EncodedExample], *, batch_size: int) -> list[list[EncodedExample]]:
    """Cut shuffled examples into batches, sorted by length within windows of a few batches."""
    window = batch_size * _SORTING_WINDOW_BATCHES
    batches: list[list[EncodedExample]] = []
    for start in range(0, len(shuffled), window):
        by_length = sorted(shuffled[start : start + window], key=lambda example: len(example.input_ids))
        batches += [by_length[first : first + batch_size] for first in range(0, len(by_length), batch_size)]
    return batches


def micro_batches(pieces: Sequence[AnyPiece], *, tokens: int) -> Iterator[list[AnyPiece]]:
    """Cut a batch into parts of at most ``tokens`` padded tokens each (or one piece, if that alone has more)."""
    part: list[AnyPiece] = []
    for piece in sorted(pieces, key=_longest):
        if part and len(members([*part, piece])) * _longest(piece) > tokens:
            yield part
            part = []
        part.append(piece)
    if part:
        yield part


def _longest(piece: Piece) -> int:
    return max(len(example.input_ids) for example in members([piece]))


def length_sorted_groups(examples: Sequence[EncodedExample], *, tokens: int) -> list[list[int]]:
    """Indices of all examples, grouped like ``micro_batches``: for scoring, where order is of no account."""
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    sizes = [len(part) for part in micro_batches(examples, tokens=tokens)]
    indices = iter(order)
    return [[next(indices) for _ in range(size)] for size in sizes]
