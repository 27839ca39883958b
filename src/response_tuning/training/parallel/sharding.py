"""Weights, gradients and the optimizer's moments spread over the processes: each keeps its part of every one.

It is ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054) by PyTorch's own means (``fully_shard``; Zhao et al. 2023, arXiv
2304.11277). Each layer of the decoder is gathered when it is computed; what stands outside the layers (embeddings, last
norm, head) when a pass begins, so that the loss finds an ordinary head. Two stages, which differ in when they let go:

    zero3    a layer after its forward pass, to be gathered again for its backward pass
    zero2    everything after the last backward pass of a step

A gathering waits for all processes, so all of them make as many passes. One that has less to compute goes through a
token or two whose loss weighs nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.load import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import Batch
from response_tuning.training.parallel.processes import copy_from_first, most_of_processes
from response_tuning.training.training_config import TrainingConfig

__all__ = [
    "ShardedLoss",
    "clip_gradients",
    "decoder_layers",
    "gathered",
    "idle_batch",
    "kept_bytes",
    "own_part",
    "passes",
    "put_back",
    "say_what_is_kept",
    "shard",
    "shards",
    "whole_state",
]


def shards(config: TrainingConfig, accelerator: Accelerator) -> bool:
    """Whether there is anybody to share weights with; where sharding is asked for and there is not, that is said."""
    if config.parallel.sharding == "none":
        return False
    if accelerator.num_processes == 1:
        say(f"note: --sharding {config.parallel.sharding} does nothing in one process. See --gpus and --processes.")
        return False
    return True


class ShardedLoss(nn.Module):
    """``ResponseLoss`` of a model that is spread over processes: each call gathers what it needs, in all of them.

    Where the model is set to be measured (``eval``), it is the plain loss, without label smoothing.
    """

    def __init__(self, model: nn.Module, loss_of: ResponseLoss, accelerator: Accelerator) -> None:
        super().__init__()
        self.model = model
        self._loss_to_train = loss_of
        self._loss_to_measure = ResponseLoss(model)
        self._accelerator = accelerator
        self._gathers_once = False

    @property
    def device(self) -> torch.device:
        """Where the loss is computed, which is not where offloaded shards are."""
        device: torch.device = self._accelerator.device
        return device

    def forward(self, batch: Batch) -> Tensor:
        """The loss [supervised tokens + mixtures] of each supervised token of ``batch``, and then of each mixture."""
        # A copy: a view would lose what gathers the weights again for the backward pass.
        loss_of = self._loss_to_train if self.model.training else self._loss_to_measure
        return torch.cat(loss_of.with_mixtures(batch))

    def with_mixtures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The two apart, as from ``ResponseLoss``."""
        losses: Tensor = self(batch)
        own, of_mixtures = losses.tensor_split([len(batch.targets)])
        return own, of_mixtures

    def passes(self, micro_batches: Iterable[Batch], *, training: bool) -> Iterator[tuple[Batch, float]]:
        """``micro_batches``, each of weight 1, and idle ones of weight 0 until there are as many as in any process."""
        own = list(micro_batches)
        most = most_of_processes(self._accelerator, len(own))
        weighted = chain(zip(own, repeat(1.0)), repeat((idle_batch(), 0.0), most - len(own)))
        for number, (batch, weight) in enumerate(weighted, start=1):
            if training and self._gathers_once:
                _sharded_modules(self)[0].set_reshard_after_backward(number == most)
            yield batch, weight
        if not training:
            self.release()

    def release(self) -> None:
        """Let go of what a forward pass without a backward pass has left gathered."""
        for module in _sharded_modules(self):
            module.reshard()


def passes(
    loss_of: ResponseLoss | ShardedLoss, micro_batches: Iterable[Batch], *, training: bool
) -> Iterator[tuple[Batch, float]]:
    """``micro_batches``, each with its weight, and what else is to be computed to keep step with other processes."""
    if isinstance(loss_of, ShardedLoss):
        return loss_of.passes(micro_batches, training=training)
    return zip(micro_batches, repeat(1.0))


def idle_batch() -> Batch:
    """The shortest batch that there is: one token that predicts another."""
    zero = torch.zeros(1, dtype=torch.long)
    return Batch(torch.zeros((1, 2), dtype=torch.long), zero, zero, zero)


def shard(model: nn.Module, loss_of: ResponseLoss, config: TrainingConfig, accelerator: Accelerator) -> ShardedLoss:
    """Spread ``model`` over all processes, on their devices; its parameters are parts from then on.

    Args:
        model: The model with its adapter, on the CPU if it does not fit the device whole. Its weights are those of the
            first process, and go to the others layer by layer.
        loss_of: Its loss.
        config: The training.
        accelerator: The processes.

    Raises:
        UserError: the model has no list of layers.
    """
    everything = kept_bytes(model)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    lets_go = config.parallel.sharding == "zero3"
    # Autocast would convert the fp32 weights of a layer and keep the bf16 ones for the backward pass, out of reach.
    # Converted before they are gathered they are the same, take half as long to send, and go when the layer goes.
    narrow = config.adapter.tuning == "full" and config.memory.dtype == "bfloat16"
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if narrow else None,
        reduce_dtype=torch.float32 if narrow else None,
        cast_forward_inputs=False,
    )
    offload = offload_policy(config, accelerator.device)
    for layer in decoder_layers(model):
        copy_from_first(accelerator, layer.parameters())
        fully_shard(layer, mesh=mesh, reshard_after_forward=lets_go, mp_policy=policy, offload_policy=offload)
    loss = ShardedLoss(model, loss_of, accelerator)
    copy_from_first(accelerator, (weight for weight in loss.parameters() if not isinstance(weight, DTensor)))
    fully_shard(loss, mesh=mesh, reshard_after_forward=False, offload_policy=offload)
    loss._gathers_once = not lets_go
    for module in _sharded_modules(loss):
        # Losses are divided by the tokens of the whole step already: gradients are added up, not averaged.
        module.set_gradient_divide_factor(1.0)
        module.set_force_sum_reduction_for_comms(True)
        # An expert that no token of this process went to still takes part in the sum.
        module.set_reduce_scatter_unused_params(True, recurse=False)
    say_what_is_kept(model, everything, config, accelerator)
    return loss


def offload_policy(config: TrainingConfig, device: torch.device) -> OffloadPolicy:
    """Where the shards of weights, gradients and optimizer state live between the steps.

    Pinned memory, which lets copies overlap with computing, exists for CUDA alone. On a CPU the policy runs the same
    code and moves nothing.
    """
    return CPUOffloadPolicy(pin_memory=device.type == "cuda") if config.parallel.offload == "cpu" else OffloadPolicy()


def say_what_is_kept(model: nn.Module, everything: int, config: TrainingConfig, accelerator: Accelerator) -> None:
    """Say how much of ``everything``, the bytes of its weights before they were spread, each process keeps."""
    say(
        f"{config.parallel.sharding}: each of {accelerator.num_processes} processes keeps "
        f"{kept_bytes(model) / 1e6:,.2f} of "
        f"{everything / 1e6:,.2f} MB of weights between the steps"
    )


def kept_bytes(model: nn.Module) -> int:
    """The bytes of the weights, or of its part of them, that this process keeps."""
    return sum(part.numel() * part.element_size() for part in map(_local, model.parameters()))


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def decoder_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of the model's decoder, first to last.

    Raises:
        UserError: the model has no list of layers.
    """
    decoder, _ = decoder_and_head(model)
    count = decoder.config.get_text_config().num_hidden_layers  # type: ignore[operator, union-attr]
    lists = (module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module) == count)
    layers = next(lists, None)
    if layers is None:
        raise UserError(f"{type(decoder).__name__} has no list of {count} layers to spread. Choose --sharding none.")
    return list(layers)


def _sharded_modules(loss: nn.Module) -> list[FSDPModule]:
    """The modules whose weights are gathered together, the outermost first."""
    return [module for module in loss.modules() if isinstance(module, FSDPModule)]


def clip_gradients(parameters: Sequence[nn.Parameter], longest: float) -> float:
    """Scale the gradients down to the norm ``longest``, in place; returns their norm before, over all processes."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    nn.utils.clip_grads_with_norm_(parameters, longest, norm)
    return float(norm)


def gathered(tensor: Tensor, *, keep: bool) -> Tensor:
    """All of a tensor of which each process has a part, in main memory; any other tensor as it is. All have to ask.

    Args:
        tensor: The part, or a tensor that every process has.
        keep: Whether this process wants it; otherwise it only gives its part, and what it gets of it is empty.
    """
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor
    # An offloaded shard is gathered on the device, which has the fast network.
    on_device: Any = tensor.to(tensor.device_mesh.device_type)
    whole: Tensor = on_device.full_tensor()
    return whole.cpu() if keep else whole.new_empty(0)


def own_part(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole ``tensor``, on the device of ``like`` and spread as it is; no process is asked."""
    moved = tensor.to(like.device)
    if not isinstance(like, DTensor):
        return moved
    part = distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
    return part.to(like.device)  # of an offloaded parameter, main memory


def put_back(parameter: nn.Parameter, whole: Tensor) -> None:
    """Give a parameter, or this process's part of it, the values of ``whole``; all have to ask, with the same."""
    parameter.data.copy_(own_part(whole, parameter))


def whole_state(model: nn.Module, *, keep: bool, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """What a model that is spread over processes is saved from, whole and in main memory, by name; all have to ask.

    Args:
        model: The model; of one with an adapter, the adapter.
        keep: Whether this process wants it; otherwise it only gives its part.
        dtype: What weights are converted to, where they are.
    """
    named = model.state_dict(keep_vars=True)
    adapted = any(not tensor.requires_grad for tensor in model.parameters())
    wholes: dict[int, Tensor] = {}  # tied weights once
    state: dict[str, Tensor] = {}
    for name, tensor in named.items():
        if adapted and not tensor.requires_grad:
            continue
        if id(tensor) not in wholes:
            whole = gathered(tensor, keep=keep)
            wholes[id(tensor)] = whole.to(dtype) if dtype and whole.is_floating_point() else whole
        state[name] = wholes[id(tensor)]
    return state if keep else {}
