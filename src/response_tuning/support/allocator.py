"""How torch allocates a GPU's memory."""

import os
import sys

__all__ = ["set_up_allocator"]

_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


def set_up_allocator() -> None:
    """Let CUDA's memory grow in segments that can be extended, unless the user decided otherwise.

    Micro-batches have many sizes; segments of a fixed size leave gaps between them that no later one fits. torch reads
    the variable when it first allocates; worker processes inherit it.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in _VARIABLES):
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
