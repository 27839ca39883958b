"""Response tuning: fine-tune base language models on responses alone, and measure what instructions are worth."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from response_tuning.export.trl_dataset import to_trl

__all__ = ["to_trl"]

# Where it is installed PEFT imports it, and on the CPU it advises to fetch kernels from a hub, which are not needed.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def __getattr__(name: str) -> Any:
    """Import what is offered here when it is first used: the command line must not wait for a model library."""
    if name == "to_trl":
        from response_tuning.export.trl_dataset import to_trl

        return to_trl
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
