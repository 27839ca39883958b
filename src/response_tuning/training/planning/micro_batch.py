"""``--micro-batch-tokens auto``: as many tokens at once as a GPU's memory allows, by the memory model of the plan.

A micro-batch of 1,024 tokens leaves a large GPU idle between kernels. Activations grow linearly with the tokens of a
packed row, so the memory of two sizes gives that of all. What counts is the GPU's whole memory and not what is free, so
that the same training on the same machine computes the same micro-batches.
"""

from collections.abc import Callable

import torch
from transformers import PreTrainedConfig

from response_tuning.training.planning.plan_memory import MicroBatchSize, empty_model, plan_memory
from response_tuning.training.training_config import DEFAULT_MICRO_BATCH_TOKENS, TrainingConfig

__all__ = ["fitting_tokens", "micro_batch_tokens"]

_FRACTION_OF_MEMORY = 0.7
"""Of the GPU's memory; the rest is for its libraries, the allocator's gaps, and what the model leaves out."""
_MOST_TOKENS = 65_536


def micro_batch_tokens(
    config: TrainingConfig, model_config: PreTrainedConfig, *, longest: int, device: torch.device
) -> int:
    """The tokens of ``config``'s micro-batches on ``device``.

    Args:
        config: The training.
        model_config: The architecture of its base model.
        longest: The tokens of the longest example: a step has no more than its batch size times as many.
        device: Where it trains.
    """
    asked = config.batches.micro_batch_tokens
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return DEFAULT_MICRO_BATCH_TOKENS
    memory = torch.cuda.get_device_properties(device).total_memory
    return fitting_tokens(
        lambda tokens: planned_bytes(config, model_config, tokens, device),
        budget=int(_FRACTION_OF_MEMORY * memory),
        most=longest * config.batches.batch_size,
    )


def fitting_tokens(bytes_of: Callable[[int], int], *, budget: int, most: int) -> int:
    """The largest power of two of tokens whose memory is within ``budget``, at least the default.

    Args:
        bytes_of: The memory of a micro-batch by its tokens, which grows linearly.
        budget: The bytes that there are.
        most: Tokens of the largest step: the first power of two that holds them is enough.
    """
    first = DEFAULT_MICRO_BATCH_TOKENS
    small, large = bytes_of(first), bytes_of(2 * first)
    per_token = max(1.0, (large - small) / first)
    fitting = first + max(0.0, budget - small) / per_token
    tokens = first
    while 2 * tokens <= min(fitting, _MOST_TOKENS) and tokens < most:
        tokens *= 2
    return tokens


def planned_bytes(config: TrainingConfig, model_config: PreTrainedConfig, tokens: int, device: torch.device) -> int:
    """The peak memory of a training whose largest micro-batch has ``tokens``, all of them supervised.

    They are counted as rows of the default's length, since attention within examples needs no more for a longer row.
    """
    model = empty_model(model_config, config.adapter, config.memory, device)
    rows = max(1, tokens // DEFAULT_MICRO_BATCH_TOKENS)
    size = MicroBatchSize(rows=rows, length=tokens // rows, supervised=tokens)
    return plan_memory(model, config, size, shapes=1, program=0, on_cpu=device.type == "cpu").total
