"""A model's rating of its own responses, from 1 to 5, without generation (after Ye & Ng 2024, arXiv 2409.00935).

The model is asked, in its own chat format, to rate a response with one digit. The expected rating is computed from its
probabilities of the five digits as the beginning of the reply, so no reply is parsed and no rating is missing.
"""

from collections.abc import Sequence
from importlib.resources import files

from jinja2 import StrictUndefined, Template

from response_tuning.inference.choices import DigitRating, rate_by_digit
from response_tuning.inference.responder import Responder

__all__ = ["rate_responses", "rating_request"]

_RATINGS = (1, 2, 3, 4, 5)


def rate_responses(
    responder: Responder, pairs: Sequence[tuple[str, str]], *, batch_tokens: int = 2048
) -> list[DigitRating]:
    """Have a model rate responses, in length-sorted batches of at most ``batch_tokens`` padded tokens.

    Args:
        responder: the model, and how it is asked.
        pairs: instruction and response.
        batch_tokens: a longer request is a batch of its own.

    Raises:
        PromptTooLongError: a request does not fit the model's context; its index is that of the pair.
    """
    requests = [rating_request(instruction, response) for instruction, response in pairs]
    return rate_by_digit(responder, requests, _RATINGS, batch_tokens=batch_tokens, label="rating own responses")


def rating_request(instruction: str, response: str) -> str:
    """The request to rate a response."""
    template = (files("response_tuning.evaluation.selective") / "self_rating.txt").read_text(encoding="utf-8")
    return str(
        Template(template, undefined=StrictUndefined).render(prompt=instruction.strip(), response=response.strip())
    )
