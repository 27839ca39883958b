"""AdamW, plain or paged: its steps, its state, and the learning rate of every step."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.progress import warn
from response_tuning.training.training_config import OptimizationOptions

__all__ = [
    "clip_and_step",
    "gradient_norm",
    "learning_rate_factor",
    "make_optimizer",
    "optimizer_state",
    "require_optimizer",
    "restore_state",
    "set_learning_rate",
]


def require_optimizer(options: OptimizationOptions, device: torch.device) -> None:
    """Require the package of the optimizer, before a model is loaded for it.

    Raises:
        UserError: ``paged`` on CUDA without bitsandbytes.
    """
    if options.optimizer == "paged" and device.type == "cuda":
        require_extra("bitsandbytes", "qlora", purpose="--optimizer paged")


def make_optimizer(parameters: Iterable[nn.Parameter], options: OptimizationOptions, device: torch.device) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over ``parameters``; only matrices decay, not biases, norms and lengths.

    ``paged`` keeps its state in memory that CUDA moves to the host when the GPU's runs out (Dettmers et al. 2023,
    arXiv 2305.14314). The result is the same; without CUDA the plain one is used, which is logged.

    Raises:
        UserError: ``paged`` on CUDA without bitsandbytes.
    """
    parameters = list(parameters)
    decay = options.weight_decay
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "paged":
        if device.type == "cuda":
            return _paged(groups, options.learning_rate)
        warn(f"note: memory is paged on CUDA only; plain AdamW runs on {device.type}, with the same result.")
    return AdamW(groups, lr=options.learning_rate, fused=_is_fused(options, parameters) or None)


def _is_fused(options: OptimizationOptions, parameters: Sequence[nn.Parameter]) -> bool:
    """Shards that are offloaded are on the CPU, whatever the device of the training."""
    if options.fused_optimizer == "auto":
        return all(parameter.device.type == "cuda" for parameter in parameters)
    return options.fused_optimizer == "on"


def _paged(groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
    try:
        from bitsandbytes.optim.adamw import PagedAdamW32bit
    except ImportError as error:
        raise UserError(
            "--optimizer paged needs bitsandbytes: pip install 'response-tuning[qlora]', or choose --optimizer adamw."
        ) from error
    paged: Any = PagedAdamW32bit
    return cast(Optimizer, paged(groups, lr=learning_rate, weight_decay=0.0))


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of all gradients together."""
    return nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def clip_and_step(optimizer: Optimizer, parameters: Sequence[nn.Parameter], norm: Tensor, *, max_norm: float) -> float:
    """Scale the gradients, whose norm is ``norm``, down to ``max_norm``, take a step with them and drop them.

    Returns:
        The norm. Where it is not finite, the weights do not change.
    """
    nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    length = float(norm)
    if math.isfinite(length):
        optimizer.step()
    optimizer.zero_grad()
    return length


def optimizer_state(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The optimizer's state of a parameter by name, in the shards that it has; empty before the first step."""
    return {
        name: value if isinstance(value, Tensor) else torch.tensor(value)
        for name, value in optimizer.state[parameter].items()
    }


def restore_state(
    optimizer: Optimizer,
    parameter: nn.Parameter,
    state: Mapping[str, Tensor],
    shard: Callable[[Tensor, Tensor], Tensor],
) -> None:
    """Restore what ``optimizer_state`` gave.

    Args:
        optimizer: The optimizer.
        parameter: The parameter.
        state: Its whole state.
        shard: Gives the shard of a whole tensor that belongs to a parameter.
    """
    for name, whole in state.items():
        if name == "step":
            # AdamW counts in a tensor, on the CPU if it is not fused; the paged one in an int.
            place = parameter.device if optimizer.defaults.get("fused") else whole.device
            optimizer.state[parameter][name] = whole.to(place) if whole.is_floating_point() else int(whole)
        elif hasattr(optimizer, "get_state_buffer"):
            optimizer.state[parameter][name] = optimizer.get_state_buffer(parameter).copy_(whole)
        else:
            optimizer.state[parameter][name] = shard(whole, parameter)


def set_learning_rate(param_groups: Iterable[dict[str, Any]], learning_rate: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in param_groups:
        group["lr"] = learning_rate


def learning_rate_factor(step: int, *, steps: int, options: OptimizationOptions) -> float:
    """The learning rate of a step (from 0), as a fraction of its highest value."""
    warmup = math.ceil(options.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    fallen = (step - warmup) / max(1, steps - warmup)
    match options.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - fallen
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * fallen))
