"""Layers of a frozen model whose gradient is written by hand: fewer passes over memory, and less of it kept.

Apart from its matmuls a training step is bound by memory bandwidth. Two kinds of layers make more passes over memory
than they need:

- A linear layer with an adapter: PEFT's output is ``base(x) + B(A(x)) * scaling``; all of its operations but one write
  a tensor as large as the output. Here the second matmul is added to the first one's result in place, and the scaling
  is applied to the few numbers between ``A`` and ``B``.
- A root-mean-square norm (Zhang & Sennrich 2019, arXiv 1910.07467): models make several copies of its input in fp32 and
  keep them for the backward pass. Here one is made, the input itself is kept, and the rest is recomputed.

The results are the same up to rounding. Layers that do anything else do not change.
"""

import copy
from collections.abc import Callable, Hashable
from functools import partial
from inspect import signature
from typing import Any

import torch
from peft.tuners.lora import Linear as AdaptedLinear
from torch import Tensor, nn

__all__ = ["fuse_layers"]

_CLOSE = 1e-4


def fuse_layers(model: nn.Module) -> None:
    """Compute the layers of ``model`` with an adapter, and its frozen norms, by the functions below, where they fit."""
    offsets: dict[Hashable, float | None] = {}
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            if _is_plain(module):
                _replace_forward(module, partial(_adapted_linear, module, module.forward))
        elif (epsilon := _epsilon_of_norm(module)) is not None:
            kind = (type(module), epsilon, tuple(module.get_parameter("weight").shape), _settings(module))
            if kind not in offsets:
                offsets[kind] = _scale_offset(module, epsilon)
            if (offset := offsets[kind]) is not None:
                _replace_forward(module, partial(_frozen_norm, module, offset, epsilon))


def _replace_forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    """Of this module only: its class belongs to other models too."""
    vars(module)["forward"] = forward


def _is_plain(module: AdaptedLinear) -> bool:
    """Whether ``module`` adds one adapter to one frozen matrix, without dropout."""
    names = module.active_adapters
    return (
        type(module.base_layer) is nn.Linear
        and not module.base_layer.weight.requires_grad
        and len(names) == 1
        and not module.lora_variant
        and isinstance(module.lora_dropout[names[0]], nn.Identity)
        and module.lora_B[names[0]].bias is None
    )


def _adapted_linear(module: AdaptedLinear, forward: Callable[..., Tensor], hidden: Tensor) -> Tensor:
    if module.disable_adapters or module.merged:
        return forward(hidden)
    name = module.active_adapters[0]
    base = module.base_layer
    assert isinstance(base, nn.Linear)
    # Reshaped out here: PyTorch lets nobody change a view in place that was made inside (Gemma 3n does).
    output: Tensor = _AdaptedLinear.apply(  # type: ignore[no-untyped-call]
        hidden.to(base.weight.dtype).flatten(0, -2),
        base.weight,
        base.bias,
        module.lora_A[name].weight,
        module.lora_B[name].weight,
        module.scaling[name],
    )
    return output.view(*hidden.shape[:-1], -1)


class _AdaptedLinear(torch.autograd.Function):
    """``x W' + b + scaling x A' B'`` and its gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, first: Tensor, second: Tensor, scaling: float
    ) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):  # everything has one type already
            first, second = first.to(rows.dtype), second.to(rows.dtype)
            reduced = (rows @ first.T).mul_(scaling)
            output = nn.functional.linear(rows, weight, bias).addmm_(reduced, second.T)
        ctx.save_for_backward(rows, weight, first, second, reduced)
        ctx.scaling = scaling
        return output

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, first, second, reduced = ctx.saved_tensors
        gradient = output_gradients[0]
        rows_gradient = None
        with torch.autocast(rows.device.type, enabled=False):
            reduced_gradient = (gradient @ second).mul_(ctx.scaling)
            first_gradient, second_gradient = reduced_gradient.T @ rows, gradient.T @ reduced
            if ctx.needs_input_grad[0]:
                rows_gradient = (gradient @ weight).addmm_(reduced_gradient, first)
        return rows_gradient, None, None, first_gradient.float(), second_gradient.float(), None


def _epsilon_of_norm(module: nn.Module) -> float | None:
    """What ``module`` may add to a mean square, if it has such a number and one frozen vector, and nothing else."""
    parameters = dict(module.named_parameters())
    weight = parameters.get("weight")
    if len(parameters) != 1 or weight is None or weight.ndim != 1 or weight.requires_grad:
        return None
    if any(module.buffers()) or len(signature(module.forward).parameters) != 1:  # a gate, or something else to compute
        return None
    epsilon = getattr(module, "eps", None) or getattr(module, "variance_epsilon", None)
    return epsilon if isinstance(epsilon, float) else None


def _settings(module: nn.Module) -> tuple[tuple[str, object], ...]:
    """The numbers and flags of ``module``, by which modules of one class may differ."""
    return tuple((name, value) for name, value in sorted(vars(module).items()) if isinstance(value, int | float | str))


def _scale_offset(module: nn.Module, epsilon: float) -> float | None:
    """What a norm adds to its weights before it scales by them: 0, or 1 (Gemma); None if it is no such norm.

    It is tried out on a copy with weights of its own, in fp32: values have to be the same, and gradients.
    """
    tried = copy.deepcopy(module).to_empty(device="cpu").float()
    with torch.random.fork_rng(devices=()):  # the training's own random numbers stay as they are
        weight = tried.get_parameter("weight")
        weight.data.uniform_(0.5, 1.5)
        hidden, aim = torch.randn((2, 4, len(weight)), device="cpu")
    hidden.requires_grad_()
    try:
        expected = _value_and_gradient(tried, hidden, aim)
    except (RuntimeError, TypeError, ValueError, IndexError):  # it wants another input
        return None
    for offset in (0.0, 1.0):
        found = _value_and_gradient(partial(_frozen_norm, tried, offset, epsilon), hidden, aim)
        if all(
            pair[0].shape == pair[1].shape and torch.allclose(*pair, rtol=_CLOSE, atol=_CLOSE)
            for pair in zip(found, expected, strict=True)
        ):
            return offset
    return None


def _value_and_gradient(norm: Callable[[Tensor], Tensor], hidden: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        output = norm(hidden)
        (gradient,) = torch.autograd.grad(output, hidden, aim)
    return output, gradient


def _frozen_norm(module: nn.Module, offset: float, epsilon: float, hidden: Tensor) -> Tensor:
    output: Tensor = _FrozenNorm.apply(hidden, module.weight, offset, epsilon)  # type: ignore[no-untyped-call]
    return output


class _FrozenNorm(torch.autograd.Function):
    """``x / sqrt(mean(x^2) + epsilon) * (weight + offset)`` in fp32, of which ``x`` is kept and nothing else."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, offset: float, epsilon: float) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        ctx.offset, ctx.epsilon = offset, epsilon
        normed, _ = _normed(hidden, epsilon)
        return normed.mul_(weight.float() + offset).to(hidden.dtype)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        normed, factor = _normed(hidden, ctx.epsilon)
        scaled = output_gradients[0] * (weight.float() + ctx.offset)
        shared = (scaled * normed).sum(dim=-1, keepdim=True)
        gradient = scaled.addcmul_(normed, shared, value=-1 / hidden.shape[-1]).mul_(factor)
        return gradient.to(hidden.dtype), None, None, None


def _normed(hidden: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """A new tensor of ``x * factor`` [..., width], and the factor [..., 1], both in fp32."""
    normed = hidden.to(torch.float32, copy=True)
    factor = torch.linalg.vector_norm(normed, dim=-1, keepdim=True)
    factor.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    return normed.mul_(factor), factor
