"""Greedy responses of a model in this process, in padded batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from response_tuning.conversation import Conversation
from response_tuning.inference.decoding import decode
from response_tuning.models.chat_files import set_stop_tokens
from response_tuning.models.load import LoadedModel

__all__ = ["Response", "generate_batch", "generate_responses"]


@dataclass(frozen=True)
class Response:
    """A generated response; ``str(response)`` is its text."""

    text: str
    token_count: int
    """Generated tokens, including the stop token."""
    stopped: bool
    """Whether the model ended the response with a stop token, within the limit."""

    def __str__(self) -> str:
        return self.text


def generate_responses(
    loaded: LoadedModel,
    conversation: Conversation,
    instructions: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[dict[int, Response]]:
    """Answer all instructions; yields each batch when it is complete, as responses by the instruction's index.

    Batches hold prompts of similar length, the longest first, so that memory runs out at once or not at all.
    """
    set_stop_tokens(loaded.model, conversation.stop_token_ids)
    prompts = [conversation.prompt_ids(instruction) for instruction in instructions]
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        responses = generate_batch(
            loaded, conversation, [prompts[index] for index in indices], [max_new_tokens] * len(indices)
        )
        yield dict(zip(indices, responses, strict=True))


def generate_batch(
    loaded: LoadedModel,
    conversation: Conversation,
    prompts: Sequence[list[int]],
    limits: Sequence[int],
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    temperature: float | None = None,
) -> list[Response]:
    """Answer a batch of prompts, each with its own limit on new tokens.

    Args:
        loaded: the model, whose stop tokens are set (``set_stop_tokens``).
        conversation: the format of the prompts.
        prompts: token ids of each prompt.
        limits: the most new tokens for each prompt.
        is_cancelled: called before each token; once it returns True, the responses so far are returned.
        temperature: samples from the whole distribution at this temperature, with torch's random numbers; None decodes
            greedily.
    """
    sampling = {} if temperature is None else {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    generated = decode(loaded.model, prompts, limits, is_cancelled=is_cancelled, **sampling)
    return [_to_response(ids[:limit], conversation) for ids, limit in zip(generated, limits, strict=True)]


def _to_response(ids: list[int], conversation: Conversation) -> Response:
    stops = set(conversation.stop_token_ids)
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    if end is None:
        return Response(conversation.decode(ids), len(ids), stopped=False)
    return Response(conversation.decode(ids[:end]), end + 1, stopped=True)
