"""What a training trains, after which prefix, and what stops it: a line when it begins, and a file of the run."""

from typing import Any

import torch
from torch import nn

from response_tuning.conversation import FORMATS, Conversation
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.options import Method, Tuning
from response_tuning.training.targets import Coverage

__all__ = ["summary", "summary_line", "unlearnable_stop_token"]

_PLACEHOLDER = "{prompt}"
_SMALL = 0.1
"""The norm of a head's row, relative to the median, below which it was hardly trained."""
_ALIKE = 3
"""This number of identical rows, or more, are placeholders."""


def summary(coverage: Coverage, conversation: Conversation, method: Method) -> dict[str, Any]:
    """What is trained, as saved in the run's ``tuning.json``."""
    return {
        **coverage.as_json(),
        "format": conversation.format_name,
        "prefix": _prefix(conversation, method),
        "stop_tokens": conversation.stop_tokens,
    }


def summary_line(coverage: Coverage, conversation: Conversation, method: Method, tuning: Tuning) -> str:
    """The same as one line of the log."""
    trained, *others = conversation.stop_tokens
    also = f" (generation also stops at {', '.join(map(repr, others))})" if others else ""
    return (
        f"training {tuning}: {coverage}; responses follow {_prefix(conversation, method)!r} and end with "
        f"{trained!r}{also}"
    )


def unlearnable_stop_token(model: nn.Module, conversation: Conversation, tuning: Tuning) -> str | None:
    """Why a model might never learn to end its responses, in a sentence with a way on; None if nothing speaks for it.

    An adapter leaves the head as it is, tied to the embeddings or not. A stop token whose row there was never trained,
    as those of reserved tokens of many base models, cannot become likely.

    Args:
        model: the base model.
        conversation: the chat format.
        tuning: the way of tuning.
    """
    wanted = FORMATS[conversation.format_name].stop if conversation.format_name in FORMATS else None
    stop, token = conversation.stop_tokens[0], conversation.stop_token_ids[0]
    if wanted is not None and stop != wanted:
        return (
            f"The tokenizer has no token {wanted!r}, with which responses end in the format "
            f"{conversation.format_name}: they end with {stop!r} here, and {wanted!r} is ordinary text."
        )
    if tuning == "full":
        return None
    weight = decoder_and_head(model)[1].weight
    if weight.is_meta or token >= len(weight):
        return None
    row = weight[token]
    norms = torch.cat([part.float().norm(dim=1) for part in weight.split(8192)])
    ratio = float(norms[token] / norms.median().clamp(min=1e-30))
    alike = sum(int((part == row).all(dim=1).sum()) for part in weight.split(8192))
    if ratio >= _SMALL and alike < _ALIKE:
        return None
    reason = f"{ratio:.3f} of the median norm" if ratio < _SMALL else f"identical with {alike - 1} others"
    return (
        f"The head's row of the stop token {stop!r} was never trained ({reason}), and --tuning {tuning} keeps the head "
        "as it is, so responses may never end. Choose a --format that ends with another token, such as tulu, or "
        "--tuning full."
    )


def _prefix(conversation: Conversation, method: Method) -> str:
    if method == "rt":
        return conversation.prefix_text
    text = conversation.tokenizer.decode(conversation.prompt_ids(_PLACEHOLDER))
    assert isinstance(text, str)
    return text if method == "it" else f"{text} or, in rows without a prompt, {conversation.prefix_text}"
