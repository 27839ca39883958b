"""How many tokens a model takes."""

from transformers import PreTrainedConfig

__all__ = ["context_of"]

_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length")


def context_of(config: PreTrainedConfig) -> int | None:
    """The most tokens of a prompt and a response together; None for a model without a limit, such as one with ALiBi."""
    text_config = config.get_text_config()
    limits = [getattr(text_config, name, None) for name in _NAMES]
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
