"""Sampled responses of a model in this process."""

import hashlib
from collections.abc import Sequence

import torch

from response_tuning.conversation import Conversation
from response_tuning.inference.generate import Response, generate_batch
from response_tuning.models.chat_files import set_stop_tokens
from response_tuning.models.load import LoadedModel
from response_tuning.support.progress import progress_bar

__all__ = ["sample_all", "sample_responses"]


def sample_responses(
    loaded: LoadedModel,
    conversation: Conversation,
    instruction: str,
    *,
    count: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int = 40,
) -> list[Response]:
    """Independent samples of the response to one instruction.

    They follow from the seed, the instruction and the batch size, whatever else is sampled before, and leave torch's
    random numbers as they were.

    Args:
        loaded: the model.
        conversation: its chat format.
        instruction: the instruction.
        count: how many.
        max_new_tokens: the longest response, in tokens.
        temperature: of the softmax; 1 is the model's own distribution.
        seed: of the random numbers.
        batch_size: samples drawn at once.
    """
    set_stop_tokens(loaded.model, conversation.stop_token_ids)
    prompt = conversation.prompt_ids(instruction)
    devices = [loaded.model.device] if loaded.model.device.type == "cuda" else []
    samples: list[Response] = []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed}/{instruction}".encode()).digest()[:6], "big"))
        for start in range(0, count, batch_size):
            rows = min(batch_size, count - start)
            samples += generate_batch(
                loaded, conversation, [prompt] * rows, [max_new_tokens] * rows, temperature=temperature
            )
    return samples


def sample_all(
    loaded: LoadedModel,
    conversation: Conversation,
    instructions: Sequence[str],
    *,
    count: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[list[Response]]:
    """Samples of the responses to several instructions (``sample_responses``), with a progress bar."""
    samples = []
    with progress_bar("sampling", len(instructions)) as bar:
        for instruction in instructions:
            samples.append(
                sample_responses(
                    loaded,
                    conversation,
                    instruction,
                    count=count,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    seed=seed,
                )
            )
            bar.advance()
    return samples
