"""Draw a subset the way the reference implementation does."""

import random
from collections.abc import Sequence
from typing import TypeVar

__all__ = ["draw"]

Item = TypeVar("Item")


def draw(items: Sequence[Item], count: int | None, *, seed: int) -> list[Item]:
    """Draw ``count`` items without replacement: shuffle all positions with ``seed`` and take the first ones.

    Returns all items in their original order where there are no more than ``count``, or ``count`` is None.
    """
    if count is None or count >= len(items):
        return list(items)
    positions = list(range(len(items)))
    random.Random(seed).shuffle(positions)
    return [items[position] for position in positions[:count]]
