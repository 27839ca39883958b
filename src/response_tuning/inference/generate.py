"""Greedy responses of a model in this process, in padded batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from response_tuning.conversation import Conversation
from response_tuning.inference.batch import left_padded
from response_tuning.inference.decoding import decode
from response_tuning.inference.responder import Responder
from response_tuning.inference.stops import StopRule
from response_tuning.models.chat_files import set_stop_tokens

if TYPE_CHECKING:
    from transformers.generation.streamers import BaseStreamer

__all__ = ["Response", "generate_batch", "generate_responses"]


@dataclass(frozen=True)
class Response:
    """A generated response; ``str(response)`` is its text."""

    text: str
    token_count: int
    """Generated tokens, including the stop token, or the text that ended the response."""
    stopped: bool
    """Whether the model ended the response within the limit: with a stop token, or as its ``StopRule`` says."""

    def __str__(self) -> str:
        return self.text


def generate_responses(
    responder: Responder, instructions: Sequence[str], *, max_new_tokens: int, batch_size: int
) -> Iterator[dict[int, Response]]:
    """Answer all instructions; yields each batch when it is complete, as responses by the instruction's index.

    Batches hold prompts of similar length, the longest first, so that memory runs out at once or not at all.

    Raises:
        PromptTooLongError: an instruction does not fit the model's context; before any is answered.
    """
    prompts = [responder.conversation.prompt_ids(instruction) for instruction in instructions]
    responder.require_fit(prompts)
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        responses = generate_batch(responder, [prompts[index] for index in indices], [max_new_tokens] * len(indices))
        yield dict(zip(indices, responses, strict=True))


def generate_batch(
    responder: Responder,
    prompts: Sequence[list[int]],
    limits: Sequence[int],
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    streamer: "BaseStreamer | None" = None,
) -> list[Response]:
    """Answer a batch of prompts, each with its own limit on new tokens, which the model's context may lower.

    Args:
        responder: the model, and how it is asked.
        prompts: token ids of each prompt.
        limits: the most new tokens for each prompt.
        is_cancelled: called before each token; once it returns True, the responses so far are returned.
        streamer: receives the ids of a single prompt and of its response as they are generated.

    Raises:
        PromptTooLongError: a prompt does not fit the model's context.
    """
    responder.require_fit(prompts)
    set_stop_tokens(responder.loaded.model, responder.conversation.stop_token_ids)
    room = [_room(responder, prompt, limit) for prompt, limit in zip(prompts, limits, strict=True)]
    longest = max(limits)
    # A row that the context ends earlier than others is generated with its like: no position may be outside of it.
    responses: dict[int, Response] = {}
    for steps in sorted({min(fits, longest) for fits in room}):
        rows = [index for index, fits in enumerate(room) if min(fits, longest) == steps]
        parts = [prompts[row] for row in rows], [min(steps, limits[row]) for row in rows]
        generated = _generate_ids(responder, *parts, is_cancelled, streamer)
        for row, ids in zip(rows, generated, strict=True):
            responses[row] = _to_response(ids[: limits[row]], responder)
    return [responses[index] for index in range(len(prompts))]


def _room(responder: Responder, prompt: Sequence[int], limit: int) -> int:
    """The most new tokens that fit the context after a prompt; ``limit`` without one."""
    return limit if responder.context is None else responder.context - len(prompt)


@torch.inference_mode()
def _generate_ids(
    responder: Responder,
    prompts: Sequence[list[int]],
    limits: Sequence[int],
    is_cancelled: Callable[[], bool],
    streamer: "BaseStreamer | None",
) -> list[list[int]]:
    """The new ids of each prompt, to its end if it ended. Prompts are padded on the left.

    What keeps its place by row (logits processors, a stop rule, a shared prefix) needs the whole batch until its end;
    without it, rows that have finished are dropped (``inference.decoding``).
    """
    model = responder.loaded.model
    cache = responder.prefix_cache.of_batch(prompts)
    if cache is None and streamer is None and responder.stops is None and responder.processors is None:
        return decode(model, prompts, limits, is_cancelled=is_cancelled)
    input_ids, attention_mask = left_padded(prompts)
    length = input_ids.shape[1]
    ends = _Ends(responder, len(prompts), length, is_cancelled)
    output = model.generate(  # type: ignore[operator]
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        max_new_tokens=max(limits),
        logits_processor=responder.processors_of(prompts),
        stopping_criteria=[ends],
        streamer=streamer,
        **({} if cache is None else {"past_key_values": cache}),
    )
    new_ids: list[list[int]] = output[:, length:].tolist()
    return [ids[: ends.lengths.get(row)] for row, ids in enumerate(new_ids)]


class _Ends:
    """A stopping criterion: generation was cancelled, or the stop rule ended a row."""

    def __init__(self, responder: Responder, rows: int, prompt_length: int, is_cancelled: Callable[[], bool]) -> None:
        self._rule: StopRule | None = responder.stops
        self._conversation: Conversation = responder.conversation
        self._prompt_length = prompt_length
        self._is_cancelled = is_cancelled
        self._breaks_line: dict[int, bool] = {}
        self._rows = rows
        self.lengths: dict[int, int] = {}
        """The new tokens of each row that the stop rule ended, to what ended it."""

    def __call__(self, ids: Tensor, _scores: Any, **_options: Any) -> Tensor:
        """Whether each row of ``ids`` [rows, tokens] has ended."""
        if self._is_cancelled():
            return torch.ones(self._rows, dtype=torch.bool, device=ids.device)
        if self._rule is None:  # without waiting for a GPU to hand over the tokens
            return torch.zeros(self._rows, dtype=torch.bool, device=ids.device)
        for row, token in enumerate(ids[:, -1].tolist()):
            if row not in self.lengths and self._breaks(token):
                self._look(self._rule, row, ids[row, self._prompt_length :].tolist())
        return torch.tensor([row in self.lengths for row in range(self._rows)], device=ids.device)

    def _look(self, rule: StopRule, row: int, new_ids: list[int]) -> None:
        if rule.end(self._conversation.generated_text(new_ids)) is not None:
            self.lengths[row] = len(new_ids)

    def _breaks(self, token: int) -> bool:
        """Whether a token has a line break in it: the rule reads whole lines."""
        if token not in self._breaks_line:
            self._breaks_line[token] = "\n" in self._conversation.generated_text([token])
        return self._breaks_line[token]


def _to_response(ids: list[int], responder: Responder) -> Response:
    conversation = responder.conversation
    stops = set(conversation.stop_token_ids)
    end = next((position for position, token in enumerate(ids) if token in stops), None)
    count = len(ids) if end is None else end + 1
    text = conversation.generated_text(ids if end is None else ids[:end])
    text, ended = (text.strip(), False) if responder.stops is None else responder.stops.cut(text)
    return Response(text, count, stopped=ended or end is not None)
