"""SFTMix: training on mixtures of easily and hardly learned examples (Xiao et al. 2024, arXiv 2410.05248).

Every confident example of an epoch is paired with an unconfident one (``confidence`` decides which are which). A
mixture's hidden state at a response's i-th token is a weighted mean of the pair's final hidden states there, and its
target the same mean of the two one-hot targets; the rest of the longer response is not mixed. The cross-entropy of the
mixtures is added to the ordinary loss as a regulariser.

The hidden states are those that the ordinary loss is computed from, so the layers do no more work, and the head does
up to half as much again. For that a pair is one unit: it stays in one process and one micro-batch. Pairs and
coefficients follow from the seed and the epoch alone, so a step is the same however it is split, and whether or not
training was interrupted before it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.training.batches.batching import Unit, batches_of_like_length, tokens_of, units

__all__ = ["Mixtures", "mix", "mixed_count", "mixtures_of", "pair", "paired_batches"]


@dataclass(frozen=True)
class Mixtures:
    """Which supervised tokens of a batch are mixed with which."""

    first: Tensor
    """[mixtures] indices into the supervised tokens of the batch."""
    second: Tensor
    """[mixtures] the ones that they are mixed with."""
    coefficient: Tensor
    """[mixtures] the weight of the first one in each mixture, in fp32."""

    def to(self, device: torch.device) -> "Mixtures":
        """The same on ``device``."""
        return Mixtures(self.first.to(device), self.second.to(device), self.coefficient.to(device))


def pair(confident: EncodedExample, unconfident: EncodedExample, coefficient: float) -> Unit:
    """Two examples of which mixtures are made, the weight of the confident one, from 0 to 1, being ``coefficient``."""
    return Unit((confident, unconfident), coefficient)


def paired_batches(
    confident: Sequence[EncodedExample],
    unconfident: Sequence[EncodedExample],
    *,
    batch_size: int,
    alpha: float,
    seed: int,
    by_length: bool = True,
) -> list[list[Unit]]:
    """One epoch of optimizer steps, each of pairs of examples, half of them confident.

    Within a step pairs are drawn at random, and each pair's coefficient from Beta(alpha, alpha). Where one half has an
    example more, that is alone. The same seed gives the same batches.

    Args:
        confident: One half of the examples.
        unconfident: The other; as many, or one more.
        batch_size: Examples per step, an even number.
        alpha: Of the beta distribution.
        seed: A different one for each epoch.
        by_length: Whether the examples of a step have similar lengths; otherwise they are any.
    """
    generator = random.Random(seed)
    length = tokens_of if by_length else _any_length
    halves = [
        batches_of_like_length(generator.sample(half, len(half)), batch_size=batch_size // 2, length=length)
        for half in (list(confident), list(unconfident))
    ]
    batches: list[list[Unit]] = []
    for first, second in zip_longest(*halves, fillvalue=()):
        others: list[EncodedExample] = generator.sample(second, len(second))
        pairing = zip(first, others, strict=False)
        pairs = [pair(one, other, generator.betavariate(alpha, alpha)) for one, other in pairing]
        batches.append([*pairs, *units(others[len(pairs) :])])
    generator.shuffle(batches)
    return batches


def _any_length(_: EncodedExample) -> int:
    return 0  # sorting is stable: the shuffled order stays


def mixed_count(unit: Unit) -> int:
    """The number of mixtures: a pair has one for every token of its shorter response, an example alone has none."""
    return min(example.supervised_count for example in unit.examples) if len(unit.examples) == 2 else 0


def mixtures_of(units: Sequence[Unit]) -> Mixtures | None:
    """Which supervised tokens of a batch of ``units`` are mixed, token by token from each response's first; None where
    there is no pair.
    """
    first, second, coefficients = [], [], []
    start = 0
    for unit in units:
        if len(unit.examples) == 2:
            assert isinstance(unit.note, float)
            places = torch.arange(start, start + mixed_count(unit))
            first.append(places)
            second.append(places + unit.examples[0].supervised_count)
            coefficients.append(torch.full((len(places),), unit.note))
        start += unit.supervised_count
    return Mixtures(torch.cat(first), torch.cat(second), torch.cat(coefficients)) if first else None


def mix(hidden: Tensor, mixtures: Mixtures) -> Tensor:
    """The hidden states [mixtures, width] of ``mixtures``, from those of the supervised tokens [tokens, width]."""
    first, second = hidden[mixtures.first].float(), hidden[mixtures.second].float()
    return torch.lerp(second, first, mixtures.coefficient[:, None]).to(hidden.dtype)
