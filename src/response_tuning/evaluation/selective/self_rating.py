"""A model's rating of its own responses, from 1 to 5, without generation (after Ye & Ng 2024, arXiv 2409.00935).

The model is asked, in its own chat format, to rate a response with one digit. The expected rating is computed from its
probabilities of the five digits as the beginning of the reply, so no reply is parsed and no rating is missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import torch
from jinja2 import StrictUndefined, Template

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.inference.batch import Batch, collate, length_sorted_groups
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.load import LoadedModel
from response_tuning.support.progress import Bar, progress_bar

__all__ = ["SelfRating", "rate_responses", "rating_request"]

_RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class SelfRating:
    """A model's rating of one of its own responses."""

    expected: float
    """From 1 to 5: the mean of the digits, weighted by their probabilities."""
    digit_share: float
    """The probability that the reply begins with any of the five digits, from 0 to 1. Near 0, the model does not follow
    the request, and the rating means little."""


def rate_responses(
    loaded: LoadedModel, conversation: Conversation, pairs: Sequence[tuple[str, str]], *, batch_tokens: int = 2048
) -> list[SelfRating]:
    """Have a model rate responses, in length-sorted batches of at most ``batch_tokens`` padded tokens.

    Args:
        loaded: the model.
        conversation: its chat format.
        pairs: instruction and response.
        batch_tokens: a longer request is a batch of its own.
    """
    prompts = [conversation.prompt_ids(rating_request(instruction, response)) for instruction, response in pairs]
    replies = [tuple(conversation.response_ids(str(rating))[:-1]) for rating in _RATINGS]
    scored = _log_probabilities(loaded, prompts, replies, batch_tokens=batch_tokens)
    return [_rating(log_probabilities) for log_probabilities in scored]


def rating_request(instruction: str, response: str) -> str:
    """The request to rate a response."""
    template = (files("response_tuning.evaluation.selective") / "self_rating.txt").read_text(encoding="utf-8")
    return str(
        Template(template, undefined=StrictUndefined).render(prompt=instruction.strip(), response=response.strip())
    )


def _log_probabilities(
    loaded: LoadedModel, prompts: Sequence[list[int]], replies: Sequence[tuple[int, ...]], *, batch_tokens: int
) -> list[list[float]]:
    """For each prompt, the log-probability, in nats, of each reply's beginning.

    A digit is one token in most formats, but some tokenizers encode some or all digits after a space as two tokens.
    Prefixes that replies have in common are computed once.
    """
    totals = [[0.0] * len(replies) for _ in prompts]
    prefixes = sorted({reply[:length] for reply in replies for length in range(len(reply))})
    with progress_bar("rating own responses", len(prompts) * len(prefixes)) as bar:
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
    loaded: LoadedModel, prompts: Sequence[list[int]], choices: Sequence[int], *, batch_tokens: int, bar: Bar
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


def _rating(log_probabilities: Sequence[float]) -> SelfRating:
    # Relative to the likeliest, so that five tiny probabilities do not underflow.
    highest = max(log_probabilities)
    weights = [math.exp(value - highest) for value in log_probabilities]
    expected = sum(rating * weight for rating, weight in zip(_RATINGS, weights, strict=True)) / sum(weights)
    return SelfRating(expected, min(1.0, sum(map(math.exp, log_probabilities))))
