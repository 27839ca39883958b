"""How much of the logits is computed at once.

On the CPU a tile of logits should stay in the cache, whatever memory there is. An accelerator needs large matmuls, so
there memory decides: a fraction of the device's *total* memory, so that the same training on the same machine has the
same tiles, and bitwise identical results. Only if less than twice that fraction is free, it is halved until it fits:
then the last bits depend on what else is on the device.
"""

from functools import cache

import torch
from torch import Tensor

__all__ = [
    "MOST_TILE_ROWS",
    "TILE_ROWS_CPU",
    "fitting_budget",
    "liger_chunk_factor",
    "logits_budget",
    "tile_rows_within",
]

TILE_ROWS_CPU = 2048
"""Best of 1k-16k on two cores with 2 MiB of second-level cache (docs/log.md)."""
MOST_TILE_ROWS = 32768
_LEAST_TILE_ROWS = 256
"""Tiles are a multiple of this, which fills the blocks of a GPU's matmuls."""
_FRACTION_OF_MEMORY = 1 / 32
_BUDGET_ELSEWHERE = 2**28
"""Where the memory of the device is unknown."""
_BYTES_PER_LOGIT, _BYTES_PER_CAPPED_LOGIT = 8, 24
"""Of a tile: the logit and its copies that live at once, in fp32 and in the matmuls' dtype."""


@cache
def logits_budget(device: torch.device) -> int:
    """How many bytes the logits that exist at once may take on ``device``.

    Decided when a process first asks: to learn how much is free takes longer than a small kernel.
    """
    if device.type != "cuda":
        return _BUDGET_ELSEWHERE
    budget = int(torch.cuda.get_device_properties(device).total_memory * _FRACTION_OF_MEMORY)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return fitting_budget(budget, free=torch.cuda.mem_get_info(device)[0] + unused)


def fitting_budget(budget: int, *, free: int) -> int:
    """``budget``, halved until it is at most half of what is ``free``: the allocator leaves gaps."""
    while budget > max(free // 2, 1):
        budget //= 2
    return budget


def tile_rows_within(budget: int, *, tokens: int, vocabulary: int, capped: bool) -> int:
    """Head rows per tile, so that a tile of ``tokens`` fits into ``budget`` bytes.

    The vocabulary is divided evenly: a last tile of a few rows would take as many steps as a whole one.
    """
    each = max(1, tokens) * (_BYTES_PER_CAPPED_LOGIT if capped else _BYTES_PER_LOGIT)
    most = min(MOST_TILE_ROWS, max(_LEAST_TILE_ROWS, budget // each // _LEAST_TILE_ROWS * _LEAST_TILE_ROWS))
    tiles = -(-vocabulary // most)
    blocks = -(-vocabulary // (tiles * _LEAST_TILE_ROWS))
    return min(vocabulary, blocks * _LEAST_TILE_ROWS)


def liger_chunk_factor(hidden: Tensor, head_weight: Tensor) -> int:
    """How many times the size of ``hidden`` Liger's logits may have, within the same budget.

    Liger's own choice is 1. With hidden states as narrow as Gemma 3 270M's (640) and a vocabulary as large as its
    (262,144) that is a few tokens at a time.
    """
    return max(1, logits_budget(hidden.device) // (2 * head_weight.element_size() * max(1, hidden.numel())))
