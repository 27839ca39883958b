"""Cross-entropy by kernels of other libraries, for CUDA: extras, behind the functions of ``linear_cross_entropy``.

What their sources say (Liger 0.8.5, cut-cross-entropy 25.1.1), which decides what each can be used for:

- Liger takes chunks of tokens over the whole vocabulary; maxima, exponentials and sums are fp32. With a frozen head it
  computes losses and gradient in one pass and two matmuls, which is what is called here. With a trained one it
  recomputes the logits in the backward pass and sums the head's gradient in fp32, as the tiles do. It supports
  soft-capping and label smoothing, and is deterministic.
- cut-cross-entropy never writes logits to memory. The log-sum-exp is fp32, but its blocks are added in the order in
  which the GPU happens to finish them, so two trainings differ in their last bits; no gradient of a frozen head is
  computed; the hidden states' gradient is summed in their own dtype; blocks of tokens and vocabulary in which every
  probability is below a thirty-second of the dtype's precision (1/4096 in bf16) add nothing to it. A trained
  head's gradient would be summed in bf16: refused. It has no label smoothing.

Which of them, or of the tiles here, is fastest depends on the GPU: ``benchmarks/loss.py`` measures that. A training
never times them, since the same configuration must give the same result.
"""

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from response_tuning.kernels.tile_sizes import liger_chunk_factor
from response_tuning.support.errors import UserError
from response_tuning.support.options import LossKernel

__all__ = ["cut_cross_entropy", "liger_cross_entropy", "require_kernel", "trained_liger_cross_entropy"]

_MODULES = {"liger": "liger_kernel", "cut-cross-entropy": "cut_cross_entropy"}
_IGNORED = -100
"""The target that both libraries leave out; ours are token ids, so there is none."""
_LARGEST_INDEX = 2**31


def require_kernel(kernel: LossKernel, device: torch.device) -> None:
    """Validate that a kernel can run on ``device``.

    Raises:
        UserError: it cannot; names the reason and what to do.
    """
    if kernel in ("auto", "tiles"):
        return
    option = f"--loss-kernel {kernel}"
    if device.type != "cuda" and not _is_interpreted():
        raise UserError(f"{option} needs a CUDA GPU, and this trains on {device.type}. Leave it out.")
    if find_spec(_MODULES[kernel]) is None:
        raise UserError(f"{option} needs its library: pip install 'response-tuning[{kernel}]'")


def _is_interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU: slow, but enough to test that they are correct."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def liger_cross_entropy(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, *, softcap: float | None, label_smoothing: float
) -> Tensor:
    """``kernels.linear_cross_entropy.linear_cross_entropy`` by Liger; there is at least one token."""
    losses: Tensor = _FrozenLiger.apply(hidden, head_weight, targets, softcap, label_smoothing)  # type: ignore[no-untyped-call]
    return losses


class _FrozenLiger(torch.autograd.Function):
    """Liger's own function would put the gradient off to the backward pass, as it cannot know that the head is frozen.

    It would multiply the logits twice then.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head_weight: Tensor,
        targets: Tensor,
        softcap: float | None,
        label_smoothing: float,
    ) -> Tensor:
        from liger_kernel.ops.fused_linear_cross_entropy import fused_linear_cross_entropy_forward

        with torch.autocast(hidden.device.type, enabled=False):
            made = fused_linear_cross_entropy_forward(
                hidden.to(head_weight.dtype),
                head_weight,
                targets,
                ignore_index=_IGNORED,
                label_smoothing=label_smoothing,
                reduction="none",
                softcap=softcap,
                compute_gradients=ctx.needs_input_grad[0],
                weight_requires_grad=False,
                chunk_mem_const=liger_chunk_factor(hidden, head_weight),
            )
        losses: Tensor = made[0]
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(made[4].to(hidden.dtype))
        return losses

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * output_gradients[0].to(gradient.dtype)[:, None], None, None, None, None


def trained_liger_cross_entropy(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, *, softcap: float | None, label_smoothing: float
) -> Tensor:
    """``kernels.linear_cross_entropy.trained_linear_cross_entropy`` by Liger; there is at least one token."""
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    no_bias = no_class_weights = kernel = mode = None
    no_z_loss = 0.0
    no_extras = (False, torch.float32, False, False, False)  # the head's gradient in fp32
    losses: Tensor = LigerFusedLinearCrossEntropyFunction.apply(
        hidden,
        head_weight,
        targets,
        no_bias,
        no_class_weights,
        _IGNORED,
        no_z_loss,
        label_smoothing,
        "none",
        softcap,
        *no_extras,
        kernel,
        mode,
        liger_chunk_factor(hidden, head_weight),
    )[0]
    return losses


def cut_cross_entropy(hidden: Tensor, head_weight: Tensor, targets: Tensor, *, softcap: float | None) -> Tensor:
    """``kernels.linear_cross_entropy.linear_cross_entropy`` by cut-cross-entropy; there is at least one token.

    Raises:
        UserError: the head is too large for it.
    """
    if head_weight.numel() >= _LARGEST_INDEX:
        raise UserError(
            f"--loss-kernel cut-cross-entropy counts in 32 bits, which {head_weight.numel():,} weights of a head "
            "exceed. Use liger or tiles."
        )
    from cut_cross_entropy import linear_cross_entropy

    with torch.autocast(hidden.device.type, enabled=False):
        losses: Tensor = linear_cross_entropy(
            hidden.to(head_weight.dtype),
            head_weight,
            targets,
            ignore_index=_IGNORED,
            softcap=softcap,
            reduction="none",
            filter_eps="auto",
        )
    return losses
