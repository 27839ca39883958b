"""Two models on the same responses, token by token: what each would say next (Lin et al. 2023, URIAL, section 2).

At every position of a response, both models have read the prompt and the response so far. The run's choice is its most
likely token. By the rank that the base model gives this token, the position is

    unshifted    rank 1: the base model would have said the same
    marginal     rank 2 or 3
    shifted      any other rank

The divergence is KL(run || base) [nats]. On a run's own greedy responses, its choices are the response's tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from response_tuning.inference.batch import padded_groups
from response_tuning.inference.processed_score import response_scores
from response_tuning.inference.responder import Responder
from response_tuning.support.progress import Bar

__all__ = ["Position", "Shift", "compare_positions"]

Shift = Literal["unshifted", "marginal", "shifted"]
_MARGINAL_RANK = 3
_LOGITS = 1 << 26
"""Logits of one model held at once: a quarter of a gibibyte in fp32."""


@dataclass(frozen=True)
class Position:
    """One position of a response."""

    token: int
    """The response's token there."""
    choice: int
    """The run's most likely token."""
    base_choice: int
    """The base model's most likely token."""
    base_rank: int
    """The rank of ``choice`` with the base model, from 1."""
    kl: float
    """KL(run || base) [nats]."""

    @property
    def shift(self) -> Shift:
        """By the rank of the run's choice with the base model."""
        return "unshifted" if self.base_rank == 1 else "marginal" if self.base_rank <= _MARGINAL_RANK else "shifted"


@dataclass(frozen=True)
class Asked:
    """A response, and what precedes it: the prompt of the run, and that of the base model."""

    prompt: list[int]
    base_prompt: list[int]
    response: list[int]


@torch.inference_mode()
def compare_positions(
    run: Responder, base: Responder, asked: Sequence[Asked], *, bar: Bar | None = None
) -> list[list[Position]]:
    """Every position of every response, as the run and the base model see it.

    Raises:
        PromptTooLongError: a prompt does not fit the context of its model.
    """
    run.require_fit([each.prompt for each in asked])
    base.require_fit([each.base_prompt for each in asked])
    vocabulary = run.loaded.model.config.get_text_config().vocab_size
    groups = padded_groups([(1, len(each.response)) for each in asked], tokens=max(1, _LOGITS // vocabulary))
    compared: dict[int, list[Position]] = {}
    for group in groups:
        compared |= zip(group, _compare_batch(run, base, [asked[index] for index in group]), strict=True)
        if bar is not None:
            bar.advance(len(group))
    return [compared[index] for index in range(len(asked))]


def _compare_batch(run: Responder, base: Responder, asked: Sequence[Asked]) -> list[list[Position]]:
    responses = [each.response for each in asked]
    steps = zip(
        response_scores(run, [each.prompt for each in asked], responses),
        response_scores(base, [each.base_prompt for each in asked], responses),
        strict=True,
    )
    rows: list[list[Position]] = [[] for _ in asked]
    for (scores, tokens, is_token), (base_scores, _, _) in steps:
        for row, position in _positions(scores, base_scores, tokens, is_token):
            rows[row].append(position)
    return rows


def _positions(scores: Tensor, base_scores: Tensor, tokens: Tensor, is_token: Tensor) -> Iterator[tuple[int, Position]]:
    """One step of a batch: the position of each row that has one, by row."""
    own, base = scores.log_softmax(dim=-1), base_scores.log_softmax(dim=-1)
    choices = own.argmax(dim=-1)
    ranks = (base > base.gather(1, choices[:, None])).sum(dim=-1) + 1
    divergences = (own.exp() * (own - base)).sum(dim=-1).clamp(min=0)
    columns = (tokens, choices, base.argmax(dim=-1), ranks, divergences)
    for row, values in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        if is_token[row]:
            yield row, Position(*values)
