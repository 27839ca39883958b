"""AdamW, plain or paged, and the learning rate of every step."""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.training_config import TrainingConfig

__all__ = ["learning_rate_factor", "make_optimizer", "set_learning_rate"]


def make_optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig, device: torch.device) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019) over ``parameters``; only matrices decay, not biases, norms and lengths.

    ``paged`` keeps the moments in memory that CUDA moves to the host when the GPU's runs out (Dettmers et al. 2023,
    arXiv 2305.14314). The numbers are the same; where there is no CUDA the plain one takes its place, and says so.

    Raises:
        UserError: ``paged`` on CUDA without bitsandbytes.
    """
    parameters = list(parameters)
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.ndim >= 2],
            "weight_decay": config.optimization.weight_decay,
        },
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimization.optimizer == "paged":
        if device.type == "cuda":
            return _paged(groups, config.optimization.learning_rate)
        say(f"note: memory is paged on CUDA only; plain AdamW runs on {device.type}, to the same numbers.")
    return AdamW(groups, lr=config.optimization.learning_rate)


def _paged(groups: list[dict[str, Any]], learning_rate: float) -> Optimizer:
    try:
        from bitsandbytes.optim.adamw import PagedAdamW32bit
    except ImportError:
        raise UserError(
            "--optimizer paged needs bitsandbytes: pip install 'response-tuning[qlora]', or choose --optimizer adamw."
        ) from None
    paged: Any = PagedAdamW32bit
    return cast(Optimizer, paged(groups, lr=learning_rate, weight_decay=0.0))


def set_learning_rate(param_groups: Iterable[dict[str, Any]], learning_rate: float) -> None:
    """Give every group of parameters this learning rate."""
    for group in param_groups:
        group["lr"] = learning_rate


def learning_rate_factor(step: int, *, steps: int, config: TrainingConfig) -> float:
    """The learning rate of a step (from 0), as a share of its highest value."""
    warmup = math.ceil(config.optimization.warmup_share * steps)
    if step < warmup:
        return (step + 1) / warmup
    fallen = (step - warmup) / max(1, steps - warmup)
    match config.optimization.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - fallen
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * fallen))
