"""SFTMix: training on mixtures of easily and hardly learned examples (Xiao et al. 2024, arXiv 2410.05248).

Every confident example of an epoch is paired with an unconfident one (``confidence.py`` tells which
are which).
A mixture's hidden state at a response's i-th token is a weighted mean of the pair's final hidden states there, and its
target the same mean of the two one-hot targets; the longer response's remainder is not mixed. The cross-entropy of the
mixtures is added to the ordinary loss as a regulariser.

The hidden states are those that the ordinary loss is computed from, so the layers do no more work, and the head does
up to half as much again. For that a pair stays together, in one process and one micro-batch. Pairs and shares follow
from the seed and the epoch alone, so a step is the same however it is cut, and whether or not training was interrupted
before it.
"""

import random
from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.training.batches.batching import Mixtures, Pair, Piece, batches_of_like_length, members

__all__ = ["mix", "mixed_count", "mixtures_of", "paired_batches"]


def paired_batches(
    confident: Sequence[EncodedExample],
    unconfident: Sequence[EncodedExample],
    *,
    batch_size: int,
    alpha: float,
    seed: int,
) -> list[list[Piece]]:
    """One epoch of optimizer steps, each of pairs of examples of like length, half of them confident.

    Within a step it is drawn by lot who is paired with whom, and each pair's shares from Beta(alpha, alpha). Where one
    half has an example more, that is alone. The same seed gives the same batches.

    Args:
        confident: One half of the examples.
        unconfident: The other; as many, or one more.
        batch_size: Examples per step, an even number.
        alpha: Of the beta distribution.
        seed: Another one for every epoch.
    """
    generator = random.Random(seed)
    halves = [
        batches_of_like_length(generator.sample(half, len(half)), batch_size=batch_size // 2)
        for half in (list(confident), list(unconfident))
    ]
    batches: list[list[Piece]] = []
    for first, second in zip_longest(*halves, fillvalue=()):
        others: list[EncodedExample] = generator.sample(second, len(second))
        pairing = zip(first, others, strict=False)
        pairs = [Pair(one, other, generator.betavariate(alpha, alpha)) for one, other in pairing]
        batches.append([*pairs, *others[len(pairs) :]])
    generator.shuffle(batches)
    return batches


def mixed_count(piece: Piece) -> int:
    """The number of mixtures: a pair has one for every token of its shorter response."""
    return min(example.supervised_count for example in members([piece])) if isinstance(piece, Pair) else 0


def mixtures_of(pieces: Sequence[Piece]) -> Mixtures | None:
    """Which supervised tokens of a batch of ``pieces`` are mixed, token by token from each response's first; None
    where there is no pair.
    """
    first, second, shares = [], [], []
    start = 0
    for piece in pieces:
        if isinstance(piece, Pair):
            places = torch.arange(start, start + mixed_count(piece))
            first.append(places)
            second.append(places + piece.confident.supervised_count)
            shares.append(torch.full((len(places),), piece.confident_share))
        start += piece.supervised_count
    return Mixtures(torch.cat(first), torch.cat(second), torch.cat(shares)) if first else None


def mix(hidden: Tensor, mixtures: Mixtures) -> Tensor:
    """The hidden states [mixtures, width] of ``mixtures``, from those of the supervised tokens [tokens, width]."""
    first, second = hidden[mixtures.first].float(), hidden[mixtures.second].float()
    return torch.lerp(second, first, mixtures.first_share[:, None]).to(hidden.dtype)
