"""Sampled responses of a model in this process."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from response_tuning.example import Turn
from response_tuning.inference.generate import Response, generate_batch
from response_tuning.inference.responder import Responder
from response_tuning.inference.sampling import RowChoice, Sampling

if TYPE_CHECKING:
    from transformers import LogitsProcessor

__all__ = ["sample_responses"]


def sample_responses(
    responder: Responder,
    instruction: str,
    *,
    count: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 40,
    earlier_turns: Sequence[Turn] = (),
) -> list[Response]:
    """Independent samples of the response to one instruction.

    A sample follows from the seed, the instruction and its number, whatever else is sampled: those of a larger count
    begin with those of a smaller one.

    Args:
        responder: the model, and how it is asked.
        instruction: the instruction.
        count: how many.
        max_new_tokens: the longest response, in tokens.
        temperature: of the softmax; 1 is the model's own distribution.
        seed: of the random numbers.
        batch_size: samples drawn at once.
        earlier_turns: the conversation before the instruction.

    Raises:
        PromptTooLongError: the instruction does not fit the model's context.
    """
    prompt = responder.conversation.prompt_ids(instruction, earlier_turns)
    rows = [Sampling(temperature=temperature, seed=_seed(f"{seed}/{number}/{instruction}")) for number in range(count)]
    samples: list[Response] = []
    for start in range(0, count, batch_size):
        batch = rows[start : start + batch_size]
        sampling = replace(responder, processors=_choosing(responder, batch))
        samples += generate_batch(sampling, [prompt] * len(batch), [max_new_tokens] * len(batch))
    return samples


def _choosing(
    responder: Responder, rows: Sequence[Sampling]
) -> "Callable[[Sequence[list[int]]], list[LogitsProcessor]]":
    """The logits processors of a run, and after them the choice of each row's next token."""

    def processors(prompts: Sequence[list[int]]) -> "list[LogitsProcessor]":
        choice = RowChoice(rows, prompt_length=max(map(len, prompts)), scored=[None] * len(rows))
        return [*responder.processors_of(prompts), choice]

    return processors


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
