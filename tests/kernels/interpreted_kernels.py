"""Compare the kernels of other libraries with the tiles: on a GPU, or on the processor with TRITON_INTERPRET=1.

    TRITON_INTERPRET=1 python tests/kernels/interpreted_kernels.py

Prints, for each comparison by name, the largest differences of the losses and of the gradients, in JSON. Triton's
interpreter knows neither log1p nor tanh of NVIDIA's device library, nor bf16 arithmetic: there, cut-cross-entropy gets
the two from Triton's own functions and runs in fp16, and Liger is compared without soft-capping.
"""

import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from response_tuning.kernels.linear_cross_entropy import linear_cross_entropy, trained_linear_cross_entropy

if find_spec("triton"):
    # Kernels find these among the module's names, and nowhere else.
    import triton
    import triton.language as tl

TOKENS, WIDTH, VOCABULARY = 13, 64, 1003


def main() -> None:
    """Compare whatever is installed."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    torch.compiler.set_stance("force_eager")  # cut-cross-entropy compiles two small functions, for a minute
    found: dict[str, list[float]] = {}
    if find_spec("liger_kernel"):
        found |= compare_liger(interpreted)
    if find_spec("cut_cross_entropy"):
        if interpreted:
            replace_device_library()
        found |= compare_cut_cross_entropy(interpreted)
    print(json.dumps(found))


def compare_liger(interpreted: bool) -> dict[str, list[float]]:
    """Frozen and trained heads, and in fp32 with bf16 products."""
    hidden, head, targets = inputs(torch.float32, interpreted)
    found = {}
    for softcap in (None,) if interpreted else (None, 5.0):
        for smoothing in (0.0, 0.1):
            options = {"softcap": softcap, "label_smoothing": smoothing}
            name = f"softcap {softcap}, smoothing {smoothing}"
            found[f"liger, frozen, {name}"] = differences(linear_cross_entropy, "liger", hidden, head, targets, options)
            found[f"liger, trained, {name}"] = differences(
                trained_linear_cross_entropy, "liger", hidden, head.clone().requires_grad_(), targets, options
            )
    with torch.autocast(hidden.device.type, torch.bfloat16):
        found["liger, trained, bf16 products"] = differences(
            trained_linear_cross_entropy, "liger", hidden, head.clone().requires_grad_(), targets, {}
        )
    return found


def compare_cut_cross_entropy(interpreted: bool) -> dict[str, list[float]]:
    """A frozen head in 16 bits, which is all that it is used for."""
    hidden, head, targets = inputs(torch.float16 if interpreted else torch.bfloat16, interpreted)
    return {
        f"cut-cross-entropy, frozen, softcap {softcap}": differences(
            linear_cross_entropy, "cut-cross-entropy", hidden, head, targets, {"softcap": softcap}
        )
        for softcap in (None, 5.0)
    }


def inputs(dtype: torch.dtype, interpreted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, a head and targets, some of which are likely."""
    device = "cpu" if interpreted else "cuda"
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH).to(device, dtype).requires_grad_()
    head = (torch.randn(VOCABULARY, WIDTH) / 4).to(device, dtype)
    targets = torch.randint(VOCABULARY, (TOKENS,), device=device)
    targets[::2] = (hidden @ head.T).argmax(dim=1)[::2]
    return hidden, head, targets


def differences(
    function: Callable[..., Tensor], kernel: str, hidden: Tensor, head: Tensor, targets: Tensor, options: dict[str, Any]
) -> list[float]:
    """The largest differences to the tiles: of the losses, and of each gradient, with a weight for each token."""
    weights = torch.linspace(0.5, 2, TOKENS, device=hidden.device)
    wanted = [tensor for tensor in (hidden, head) if tensor.requires_grad]
    results = []
    for each in ("tiles", kernel):
        losses = function(hidden, head, targets, kernel=each, **options)
        results.append([losses.detach(), *torch.autograd.grad((losses * weights).sum(), wanted)])
    tiles, others = results
    return [float((one.float() - other.float()).abs().max()) for one, other in zip(tiles, others, strict=True)]


def replace_device_library() -> None:
    """Give cut-cross-entropy the two functions that the interpreter does not have."""
    import cut_cross_entropy.tl_utils

    @triton.jit  # type: ignore[untyped-decorator]
    def log1p(number: Any) -> Any:
        return tl.log(1 + number)

    @triton.jit  # type: ignore[untyped-decorator]
    def tanh(number: Any) -> Any:
        return 2 * tl.sigmoid(2 * number) - 1

    cut_cross_entropy.tl_utils.tl_log1p = log1p
    cut_cross_entropy.tl_utils.tl_tanh = tanh


if __name__ == "__main__":
    main()
