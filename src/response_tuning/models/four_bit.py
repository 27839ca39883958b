"""Weights in four bits, for QLoRA: how they are loaded, and kept as they are on the CPU."""

from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from response_tuning.support.errors import UserError
from response_tuning.support.options import Dtype

__all__ = ["keep_packed_weights", "nf4"]


def nf4(dtype: Dtype, device: torch.device) -> dict[str, Any]:
    """Arguments for ``from_pretrained`` that quantise the weights to 4-bit NormalFloat, and their scales to 8 bits.

    About 4.1 bits per weight (QLoRA's double quantisation, Dettmers et al. 2023, arXiv 2305.14314). Matmuls run in
    ``dtype``.

    Raises:
        UserError: bitsandbytes, which quantises, is missing or has no build for this machine.
    """
    try:
        import bitsandbytes  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            f"4-bit weights need bitsandbytes, which cannot be imported here ({error}): "
            "pip install 'response-tuning[qlora]', or choose --tuning lora."
        ) from error
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": config, "device_map": {"": device}}


def keep_packed_weights(model: nn.Module) -> None:
    """Keep a forward pass without a gradient from changing 4-bit weights.

    On processors with AVX-512 for bf16, bitsandbytes repacks the weights in the first such pass for a kernel without
    a backward pass. It rounds their scales and fails for widths that are not a multiple of 64.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
