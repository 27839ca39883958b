"""DeepSpeed's engine: another way to spread a training over processes, and out of the GPU into main memory.

The stages are those of ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), the way out is ZeRO-Offload (Ren et al. 2021,
arXiv 2101.06840). The engine wraps the loss and the AdamW that train without it. ``deepspeed.initialize`` makes it, and
not Accelerate's plugin: that one knows no DeepSpeed on the CPU, and its ``backward`` steps by itself.

DeepSpeed lays out weights, their fp32 copies and moments in its own way. Checkpoints hold them whole and by name, as
those of every other training do; what translates between the two is called in every process at once.
"""

import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.training.batches.batching import Batch
from response_tuning.training.optimizer import make_optimizer
from response_tuning.training.parallel.sharding import ShardedLoss, idle_batch, kept_bytes, say_what_is_kept
from response_tuning.training.training_config import TrainingConfig

__all__ = ["DeepSpeedStepper", "require_deepspeed", "start_engine"]

_BUCKET_VALUES = 16 * 2**20
"""Gradients that are sent at once. DeepSpeed's default of 500 million would take 2 GB of every GPU."""
_WIDTHS_NOT_SPLIT = 10
"""Weights of up to so many times the model's width stay whole in stage 3, as in Transformers: sending costs more."""


def require_deepspeed(config: TrainingConfig) -> None:
    """See that DeepSpeed is there, where ``config`` asks for it.

    Raises:
        UserError: it is not.
    """
    if config.deepspeed_stage and find_spec("deepspeed") is None:  # found, not imported: it looks for its device then
        raise UserError(
            f"--sharding {config.sharding} needs DeepSpeed: pip install 'response-tuning[deepspeed]', or choose "
            f"--sharding zero{max(2, config.deepspeed_stage)}, which is PyTorch's own."
        )


class DeepSpeedStepper:
    """A ``Stepper`` by DeepSpeed: it adds up gradients, clips them, and changes each process's part of the weights."""

    def __init__(self, engine: Any, adamw: Optimizer) -> None:
        self._engine = engine
        self._adamw = adamw
        self._has_stepped = False
        _make_moments(adamw)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """See ``Stepper``."""
        return self._adamw.param_groups

    def step(self) -> float:
        """See ``Stepper``."""
        self._engine.step()
        self._has_stepped = True
        return float(self._engine.get_global_grad_norm())

    def moments(self, parameter: nn.Parameter, *, keep: bool) -> dict[str, Tensor]:
        """See ``Stepper``."""
        from deepspeed.utils import safe_get_full_optimizer_state

        if not self._has_stepped:
            return {}
        moments = {}
        for moment, value in next(iter(self._adamw.state.values())).items():
            whole = safe_get_full_optimizer_state(parameter, moment) if value.ndim else value
            moments[moment] = whole.to("cpu", copy=True) if keep else whole.new_empty(0)
        return moments

    def restore(self, moments: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
        """See ``Stepper``."""
        self._engine.optimizer.refresh_fp32_params()
        if not self._has_stepped:
            self._step_in_place()
        steps = max((float(state["step"]) for state in moments.values()), default=0.0)
        for state in self._adamw.state.values():
            state["step"].fill_(steps)
        for parameter, state in moments.items():
            for moment in state.keys() - {"step"}:
                _put_moment(parameter, moment, state[moment])

    def _step_in_place(self) -> None:
        """Let the engine find places for moments, by a step that changes nothing: no gradients, at no learning rate."""
        for group in self.param_groups:
            group["lr"] = 0.0  # until the next step's is set
        losses = self._engine(idle_batch().to(self._engine.device))
        (losses * 0.0).sum().backward()
        self.step()


def _make_moments(adamw: Optimizer) -> None:
    """Let AdamW make the moments of all its groups (none in stage 3, where they come and go with each step).

    DeepSpeed 0.19.8 looks for all of them after the first step of the first group, and never again.
    """
    parts = [part for group in adamw.param_groups for part in group["params"]]
    for group in adamw.param_groups:
        group["lr"] = 0.0  # until the first step's is set
    without = [part for part in parts if part.grad is None]
    for part in without:
        part.grad = torch.zeros_like(part)
    adamw.step()
    for part in without:
        part.grad = None
    for state in adamw.state.values():
        state["step"].zero_()


def _put_moment(parameter: nn.Parameter, moment: str, whole: Tensor) -> None:
    from deepspeed.utils import (
        safe_get_local_optimizer_state,
        safe_set_full_optimizer_state,
        safe_set_local_optimizer_state,
    )

    if not hasattr(parameter, "ds_id"):
        safe_set_full_optimizer_state(parameter, whole, moment)
        return
    # Stage 3 cuts each weight by itself. DeepSpeed's own way to set it whole fails where the last part is padded.
    part = torch.zeros_like(safe_get_local_optimizer_state(parameter, moment))
    own = whole.flatten()[distributed.get_rank() * part.numel() :][: part.numel()]
    part[: own.numel()] = own
    safe_set_local_optimizer_state(parameter, part, moment)


class _Mixed(nn.Module):
    """A loss with its products in bf16 where that is asked for: on a GPU the engine ends an autocast around it."""

    def __init__(self, loss: ShardedLoss, config: TrainingConfig, device: torch.device) -> None:
        super().__init__()
        self.loss = loss
        self._device = device.type
        self._enabled = config.dtype == "bfloat16"

    def forward(self, batch: Batch) -> Tensor:
        # Without its cache, which would keep every weight in bf16 until the end of the pass.
        with torch.autocast(self._device, torch.bfloat16, enabled=self._enabled, cache_enabled=False):
            losses: Tensor = self.loss(batch)
        return losses


def start_engine(
    model: nn.Module, loss_of: ResponseLoss, config: TrainingConfig, accelerator: Accelerator
) -> tuple[ShardedLoss, DeepSpeedStepper]:
    """Put DeepSpeed's engine around ``model``; returns its loss, and what takes the steps.

    Args:
        model: The model with its adapter, on the CPU. In stage 3 its weights are those of the first process, and go to
            the others one by one; otherwise all have the same.
        loss_of: Its loss.
        config: The training.
        accelerator: The processes.
    """
    # Left alone, DeepSpeed takes a GPU wherever there is one.
    os.environ["DS_ACCELERATOR"] = accelerator.device.type
    import deepspeed

    # Messages between processes of one machine, which DeepSpeed would compile here and gloo has already.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    adamw = make_optimizer(
        (weight for weight in model.parameters() if weight.requires_grad), config, accelerator.device
    )
    everything = kept_bytes(model)
    loss = ShardedLoss(model, loss_of, accelerator)
    settings = _settings(model, config)
    if config.deepspeed_stage == 3:
        # Before the engine, which would first move the whole model to the device.
        deepspeed.zero.Init(module=model, config_dict_or_path=settings)
        for buffer in model.buffers():
            buffer.data = buffer.data.to(accelerator.device)
    engine, *_ = deepspeed.initialize(model=_Mixed(loss, config, accelerator.device), optimizer=adamw, config=settings)
    processes = accelerator.num_processes

    def compute(batch: Batch) -> Tensor:
        losses: Tensor = engine(batch)
        if losses.requires_grad:
            # Losses are divided by the tokens of the whole step already: gradients are to be added up, and the engine
            # averages them.
            losses.register_hook(lambda gradient: gradient * processes)
        return losses

    loss.compute_by(compute)
    say_what_is_kept(model, everything, config, accelerator)
    return loss, DeepSpeedStepper(engine, adamw)


def _settings(model: nn.Module, config: TrainingConfig) -> dict[str, Any]:
    decoder, _ = decoder_and_head(model)
    width = decoder.config.get_text_config().hidden_size  # type: ignore[operator, union-attr]
    to_main_memory = {"device": "cpu"}
    return {
        # The engine multiplies batch sizes and nothing more. Micro-batches are ours, and a step comes when we say so.
        "train_micro_batch_size_per_gpu": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.max_gradient_norm,
        # DeepSpeed's own AdamW for the processor would be compiled here, and give other bits.
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.deepspeed_stage,
            "reduce_bucket_size": _BUCKET_VALUES,
            "stage3_param_persistence_threshold": _WIDTHS_NOT_SPLIT * width,
            **({"offload_optimizer": to_main_memory} if config.offload != "none" else {}),
            **({"offload_param": to_main_memory} if config.offload == "weights" else {}),
        },
    }
