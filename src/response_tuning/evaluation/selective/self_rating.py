"""A model's rating of its own responses, from 1 to 5, without generation (after Ye & Ng 2024, arXiv 2409.00935).

The model is asked, in its own chat format, to rate a response with one digit. The expected rating is computed from its
probabilities of the five digits as the beginning of the reply, so no reply is parsed and no rating is missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import StrictUndefined, Template

from response_tuning.conversation import EncodedExample
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.support.progress import progress_bar

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
    responder: Responder, pairs: Sequence[tuple[str, str]], *, batch_tokens: int = 2048
) -> list[SelfRating]:
    """Have a model rate responses, in length-sorted batches of at most ``batch_tokens`` padded tokens.

    Args:
        responder: the model, and how it is asked.
        pairs: instruction and response.
        batch_tokens: a longer request is a batch of its own.

    Raises:
        PromptTooLongError: a request does not fit the model's context; its index is that of the pair.
    """
    conversation = responder.conversation
    prompts = [conversation.prompt_ids(rating_request(instruction, response)) for instruction, response in pairs]
    replies = [conversation.response_ids(str(rating), ended=False) for rating in _RATINGS]
    scored = _log_probabilities(responder, prompts, replies, batch_tokens=batch_tokens)
    return [_rating(log_probabilities) for log_probabilities in scored]


def rating_request(instruction: str, response: str) -> str:
    """The request to rate a response."""
    template = (files("response_tuning.evaluation.selective") / "self_rating.txt").read_text(encoding="utf-8")
    return str(
        Template(template, undefined=StrictUndefined).render(prompt=instruction.strip(), response=response.strip())
    )


def _log_probabilities(
    responder: Responder, prompts: Sequence[list[int]], replies: Sequence[list[int]], *, batch_tokens: int
) -> list[list[float]]:
    """For each prompt, the log-probability, in nats, of each reply's beginning; the prompt is computed once.

    A digit is one token in most formats, but some tokenizers encode some or all digits after a space as two tokens.
    """
    responder.require_fit(prompts)
    encoded = [EncodedExample([*prompt, *reply], len(prompt)) for prompt in prompts for reply in replies]
    with progress_bar("rating own responses", len(encoded)) as bar:
        scores = log_likelihoods(responder, encoded, batch_tokens=batch_tokens, bar=bar)
    return [scores[start : start + len(replies)] for start in range(0, len(scores), len(replies))]


def _rating(log_probabilities: Sequence[float]) -> SelfRating:
    # Relative to the likeliest, so that five tiny probabilities do not underflow.
    highest = max(log_probabilities)
    weights = [math.exp(value - highest) for value in log_probabilities]
    expected = sum(rating * weight for rating, weight in zip(_RATINGS, weights, strict=True)) / sum(weights)
    return SelfRating(expected, min(1.0, sum(map(math.exp, log_probabilities))))
