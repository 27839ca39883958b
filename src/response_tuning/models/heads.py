"""The output head of a causal language model, and the decoder below it."""

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from response_tuning.support.errors import UserError

__all__ = ["decoder_and_head", "keep_head_input_contiguous", "logit_cap", "logit_scale"]

_CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""What configurations name the cap of logits (Gemma; RecurrentGemma)."""
_MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
"""What models (Cohere; Falcon-H1) multiply their logits by, as their configurations name it."""
_DIVISOR = "logits_scaling"
"""What models (Granite, MiniCPM3) divide their logits by."""
_MULTIPLIES_BY_DIVISOR = frozenset({"hyperclovax"})
"""Model types that multiply by a number of that name."""


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The decoder, which computes hidden states, and the head, which computes logits from them.

    Args:
        model: a causal language model, wrapped by PEFT or not.

    Raises:
        UserError: the head is not one linear layer.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    decoder, head = _decoder(base), base.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(decoder, nn.Module) or decoder is base or not isinstance(head, nn.Linear):
        raise UserError(f"{type(base).__name__} has no plain linear output head, which training and scoring here need.")
    return decoder, head


def _decoder(base: nn.Module) -> object:
    """What lies below the head: ``base_model``, but for classes that name it otherwise (Llama 4)."""
    decoder = base.base_model
    return decoder if decoder is not base else getattr(base, "model", None)


def logit_cap(model: nn.Module) -> float | None:
    """``c`` where the logits of ``model`` are capped as ``c * tanh(logits / c)`` (Gemma 2); None where they are not."""
    decoder, _ = decoder_and_head(model)
    assert isinstance(decoder.config, PreTrainedConfig)
    config = decoder.config.get_text_config()
    values = [getattr(config, name, None) for name in _CAPS]
    return next((float(value) for value in values if isinstance(value, int | float)), None)


def logit_scale(model: nn.Module) -> float:
    """What the logits of the head of ``model`` are multiplied by: 1, unless its configuration names another number.

    Whether the model does so is measured before a training (``ResponseLoss.check``).
    """
    decoder, _ = decoder_and_head(model)
    assert isinstance(decoder.config, PreTrainedConfig)
    config = decoder.config.get_text_config()
    values = [getattr(config, name, None) for name in _MULTIPLIERS]
    scale = next((float(value) for value in values if isinstance(value, int | float)), 1.0)
    divisor = getattr(config, _DIVISOR, None)
    if isinstance(divisor, int | float):
        scale *= divisor if config.model_type in _MULTIPLIES_BY_DIVISOR else 1 / divisor
    return scale


def keep_head_input_contiguous(model: PreTrainedModel) -> None:
    """Spare ``generate`` a copy of the head's weights for each row of a batch.

    In its first step the head's input is the last position of every row, a strided view, which PyTorch multiplies as a
    batch of copies: 13 GB and half a minute on two cores for 40 rows and a vocabulary of 262,144.
    """
    head = model.get_output_embeddings()
    if isinstance(head, nn.Module):
        head.register_forward_pre_hook(lambda _module, inputs: tuple(tensor.contiguous() for tensor in inputs))
