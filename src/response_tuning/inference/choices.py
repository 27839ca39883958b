"""Ratings by digit, from how likely a model finds each digit as the beginning of its reply. Nothing is generated."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import takewhile

import torch

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate, length_sorted_groups
from response_tuning.inference.responder import Responder
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.load import LoadedModel
from response_tuning.support.progress import Bar, progress_bar

__all__ = ["DigitRating", "rate_by_digit"]


@dataclass(frozen=True)
class DigitRating:
    """A rating that a model would reply with."""

    expected: float
    """The mean of the digits, weighted by their probabilities; these are renormalised to a sum of 1."""
    digit_share: float
    """The probability that the reply begins with any of the digits, from 0 to 1. Near 0, the model does not follow the
    request, and the rating means little. Without ``shares``, given what all digits begin with."""


def rate_by_digit(
    responder: Responder,
    requests: Sequence[str],
    digits: Sequence[int],
    *,
    batch_tokens: int = 2048,
    shares: bool = True,
    label: str | None = None,
) -> list[DigitRating]:
    """The rating that a model replies to each request, from its probabilities of the digits as the reply's beginning.

    No reply is generated or parsed, so none is missing (Ye & Ng 2024, arXiv 2409.00935).

    Args:
        responder: the model, and how it is asked.
        requests: each asks for one of the digits.
        digits: the ratings that can be given.
        batch_tokens: the most padded tokens in a batch; a longer request is a batch of its own.
        shares: whether ``digit_share`` is wanted. Without it, tokens that all digits begin with are taken as given,
            such as a space that is a token of its own: that saves a forward pass.
        label: of a progress bar; None shows none.

    Raises:
        PromptTooLongError: a request does not fit the model's context; its index is that of the request.
    """
    conversation = responder.conversation
    prompts = [conversation.prompt_ids(request) for request in requests]
    replies = [tuple(conversation.response_ids(str(digit), ended=False)) for digit in digits]
    responder.require_fit(prompts)
    if not shares:
        common = _common(replies)
        prompts = [[*prompt, *replies[0][:common]] for prompt in prompts]
        replies = [reply[common:] for reply in replies]
    if responder.processors is not None:  # they decide each token after the ones before it
        scored = _processed(responder, prompts, replies)
    else:
        scored = _log_probabilities(responder.loaded, prompts, replies, batch_tokens=batch_tokens, label=label)
    return [_rating(log_probabilities, digits) for log_probabilities in scored]


def _processed(
    responder: Responder, prompts: Sequence[list[int]], replies: Sequence[tuple[int, ...]]
) -> list[list[float]]:
    """As ``_log_probabilities``, under the logits processors of a run by rules."""
    encoded = [EncodedExample([*prompt, *reply], len(prompt)) for prompt in prompts for reply in replies]
    scores = log_likelihoods(responder, encoded)
    return [scores[start : start + len(replies)] for start in range(0, len(scores), len(replies))]


def _common(replies: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all replies begin with, but for their last."""
    shortest = min(len(reply) for reply in replies) - 1
    same = (len({reply[place] for reply in replies}) == 1 for place in range(shortest))
    return sum(1 for _ in takewhile(bool, same))


def _log_probabilities(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    replies: Sequence[tuple[int, ...]],
    *,
    batch_tokens: int,
    label: str | None,
) -> list[list[float]]:
    """For each prompt, the log-probability, in nats, of each reply's beginning.

    A digit is one token in most formats, but some tokenizers encode some or all digits after a space as two tokens.
    Prefixes that replies have in common are computed once.
    """
    totals = [[0.0] * len(replies) for _ in prompts]
    prefixes = sorted({reply[:length] for reply in replies for length in range(len(reply))})
    shown = nullcontext() if label is None else progress_bar(label, len(prompts) * len(prefixes))
    with shown as bar:
        for prefix in prefixes:
            continued = [
                place
                for place, reply in enumerate(replies)
                if len(reply) > len(prefix) and reply[: len(prefix)] == prefix
            ]
            requests = [[*prompt, *prefix] for prompt in prompts]
            nexts = [replies[place][len(prefix)] for place in continued]
            scores = _next_token_scores(loaded, requests, nexts, batch_tokens=batch_tokens, bar=bar)
            for total, row in zip(totals, scores, strict=True):
                for place, score in zip(continued, row, strict=True):
                    total[place] += score
    return totals


@torch.inference_mode()
def _next_token_scores(
    loaded: LoadedModel, prompts: Sequence[list[int]], choices: Sequence[int], *, batch_tokens: int, bar: Bar | None
) -> list[list[float]]:
    """The log-probabilities of each of ``choices`` as the next token of each prompt."""
    loss_of = ResponseLoss(loaded.model)
    # No predicting position attends to the choice after the prompt, so any of them serves.
    encoded = [EncodedExample([*prompt, choices[0]], len(prompt)) for prompt in prompts]
    scores: list[list[float]] = [[] for _ in prompts]
    for group in length_sorted_groups(encoded, tokens=batch_tokens):
        batch = _with_choices(collate([encoded[index] for index in group]), choices).to(loaded.model.device)
        losses = loss_of(batch).view(len(group), len(choices))
        for index, row in zip(group, losses.tolist(), strict=True):
            scores[index] = [-loss for loss in row]
        if bar is not None:
            bar.advance(len(group))
    return scores


def _with_choices(batch: Batch, choices: Sequence[int]) -> Batch:
    """The same rows, each with every choice as a target of its predicting position."""
    return Batch(
        batch.input_ids,
        batch.predicting_positions.repeat_interleave(len(choices)),
        torch.tensor(choices).repeat(len(batch.rows)),
        batch.rows.repeat_interleave(len(choices)),
    )


def _rating(log_probabilities: Sequence[float], digits: Sequence[int]) -> DigitRating:
    # Relative to the likeliest, so that tiny probabilities do not underflow.
    highest = max(log_probabilities)
    weights = [math.exp(value - highest) for value in log_probabilities]
    expected = sum(digit * weight for digit, weight in zip(digits, weights, strict=True)) / sum(weights)
    return DigitRating(expected, min(1.0, sum(map(math.exp, log_probabilities))))
