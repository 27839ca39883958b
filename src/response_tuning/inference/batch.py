"""Encoded examples as tensors: a batch, and which of its positions predict supervised tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from response_tuning.conversation import EncodedExample

__all__ = ["Batch", "collate", "left_padded", "length_sorted_groups", "padded_groups", "padding_to_round"]

_ROUND_TOKENS = 32


@dataclass(frozen=True)
class Batch:
    """Right-padded rows of one example each, or one packed row of several; and where a supervised token is predicted.

    Padded rows need no attention mask: attention is causal and padding comes last, so no real token sees it. The
    content of the padding does not matter either, since masking is by position and not by token id. In a packed row
    the positions, which restart, tell the model where an example begins.
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
    lengths: tuple[int, ...] | None = None
    """Of the examples of a packed row, and of its padding; None for padded rows, and where responses share a prompt."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on ``device``; a GPU copies it from pinned memory while it computes something else."""
        return Batch(
            _copied(self.input_ids, device),
            _copied(self.predicting_positions, device),
            _copied(self.targets, device),
            _copied(self.rows, device),
            None if self.position_ids is None else _copied(self.position_ids, device),
            self.lengths,
        )


def _copied(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def collate(examples: Sequence[EncodedExample]) -> Batch:
    """Collate examples into one batch, a padded row for each."""
    length = max(len(example.input_ids) for example in examples)
    input_ids = torch.zeros((len(examples), length), dtype=torch.long)
    positions, rows = [], []
    for row, example in enumerate(examples):
        input_ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        positions.append(row * length + torch.arange(example.prompt_length - 1, len(example.input_ids) - 1))
        rows.append(torch.full((example.supervised_count,), row))
    predicting = torch.cat(positions)
    return Batch(input_ids, predicting, input_ids.flatten()[predicting + 1], torch.cat(rows))


def left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [rows, length] of prompts that responses will follow: they all end in one column."""
    length = max(map(len, prompts))
    ids = torch.zeros((len(prompts), length), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, length - len(prompt) :] = torch.tensor(prompt)
        mask[row, length - len(prompt) :] = 1
    return ids, mask


def length_sorted_groups(examples: Sequence[EncodedExample], *, tokens: int) -> list[list[int]]:
    """Indices of all examples, shortest first, in groups of at most ``tokens`` padded tokens each: for scoring, where
    order does not matter."""
    return padded_groups([(1, len(example.input_ids)) for example in examples], tokens=tokens)


def padded_groups(sizes: Sequence[tuple[int, int]], *, tokens: int) -> list[list[int]]:
    """Group items by length, so that each group has at most ``tokens`` padded tokens, or is one item that has more.

    Args:
        sizes: Of each item its rows, and the length of the longest of them.
        tokens: The most padded tokens of a group.

    Returns:
        Indices of the items, shortest first.
    """
    groups: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(sizes)), key=lambda index: sizes[index][1]):
        count, longest = sizes[index]
        if groups and (rows + count) * longest <= tokens:
            groups[-1].append(index)
            rows += count
        else:
            groups.append([index])
            rows = count
    return groups


def padding_to_round(tokens: int) -> int:
    """How many tokens of padding make ``tokens`` a round number.

    Processors prepare their matmuls for each number of rows, and cache what they have prepared: with few round
    numbers the memory of a long training grows less (docs/log.md).
    """
    return -tokens % _ROUND_TOKENS
