"""Merge an adapter into the weights that it was trained beside."""

from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

__all__ = ["merge_adapter"]


def merge_adapter(adapted: nn.Module) -> PreTrainedModel:
    """Add the adapter of a PEFT model to its base weights, layer by layer in fp32, and round once to their dtype.

    PEFT would round the adapter's part to the dtype of the weights, and then the sum again.

    Args:
        adapted: a PEFT model whose base weights are not packed.

    Returns:
        The base model with other weights.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            layer: Any = module.get_base_layer()
            dtypes = {name: weight.dtype for name, weight in layer.named_parameters(recurse=False)}
            _convert(layer, dict.fromkeys(dtypes, torch.float32))
            module.merge()
            _convert(layer, dtypes)
    return cast(PreTrainedModel, adapted.unload())  # type: ignore[operator]


def _convert(layer: nn.Module, dtypes: dict[str, torch.dtype]) -> None:
    for name, dtype in dtypes.items():
        weight = layer.get_parameter(name)
        weight.data = weight.data.to(dtype)
