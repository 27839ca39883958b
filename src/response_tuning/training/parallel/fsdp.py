"""Weights, gradients and optimizer state sharded over processes: each keeps its shard of every one.

That is ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054) by PyTorch's ``fully_shard`` (Zhao et al. 2023, arXiv
2304.11277). The weights of each layer of the decoder are gathered when it is computed; those outside the layers
(embeddings, last norm, head) when a pass begins, so that the loss finds an ordinary head. The stages differ in when
gathered weights are freed:

    zero3    those of a layer after its forward pass; they are gathered again for its backward pass
    zero2    all of them after the last backward pass of a step

An all-gather waits for all processes, so all of them make the same number of passes. One that has less to compute
passes a token or two whose loss has weight 0.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from response_tuning.kernels.packed_attention import attention_of, use_attention_of
from response_tuning.models.heads import decoder_and_head
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.optimizer import clip_and_step, gradient_norm
from response_tuning.training.parallel.contract import Decision, Losses, Work
from response_tuning.training.parallel.processes import copy_from_first, decided_by_first, most_of_processes
from response_tuning.training.training_config import ParallelOptions, TrainingConfig
from response_tuning.training.tuning import load_base

__all__ = ["FullySharded", "decoder_layers", "offload_policy"]


class FullySharded:
    """A ``Strategy`` by ``fully_shard``.

    Args:
        accelerator: The processes.
        parallel: Which stage, and whether shards are offloaded.
        packs: Whether packing may be decided on.
        narrow: Whether weights are fp32 and computed with in bf16.
    """

    def __init__(self, accelerator: Accelerator, parallel: ParallelOptions, *, narrow: bool) -> None:
        self.accelerator = accelerator
        self._parallel = parallel
        self._narrow = narrow
        self._root: _Root | None = None

    @property
    def saves(self) -> bool:
        """See ``Strategy``. Every process has a shard to give."""
        return True

    def load(self, config: TrainingConfig) -> LoadedModel:
        """Load the weights in the first process, on the CPU: they may not fit the device whole, nor main memory once
        for each process."""
        return load_base(
            config.model,
            config.adapter.tuning,
            dtype=config.memory.dtype,
            device="cpu",
            weights=self.accelerator.is_main_process,
        )

    def decide(self, model: nn.Module, trial: Callable[[], Decision]) -> Decision:
        """See ``Strategy``. The first process decides, which alone has the weights."""
        decision, attention = decided_by_first(self.accelerator, lambda: (trial(), attention_of(model)))
        use_attention_of(model, attention)
        return decision

    def wrap(self, model: nn.Module) -> None:
        """See ``Strategy``. Weights are copied from the first process layer by layer, as they are sharded."""
        copy_from_first(self.accelerator, model.buffers())
        whole_bytes = kept_bytes(model)
        options: dict[str, Any] = {
            "mesh": init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,)),
            "offload_policy": offload_policy(self._parallel, self.accelerator.device),
        }
        # Autocast would convert the fp32 weights of a layer and keep the bf16 ones for the backward pass, out of
        # reach. Converted before they are gathered they are the same, take half as long to send, and are freed with
        # the layer.
        precision = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self._narrow else None,
            reduce_dtype=torch.float32 if self._narrow else None,
            cast_forward_inputs=False,
        )
        for layer in decoder_layers(model):
            copy_from_first(self.accelerator, layer.parameters())
            fully_shard(layer, reshard_after_forward=self._by_layer, mp_policy=precision, **options)
        root = _Root(model)
        copy_from_first(self.accelerator, (weight for weight in root.parameters() if not isinstance(weight, DTensor)))
        fully_shard(root, reshard_after_forward=False, **options)
        for module in _sharded_modules(root):
            # Losses are divided by the tokens of the whole step already: gradients are summed, not averaged.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            # An expert that got no token of this process still takes part in the sum.
            module.set_reduce_scatter_unused_params(True, recurse=False)
        self._root = root
        say(
            f"{self._parallel.sharding}: each of {self.accelerator.num_processes} processes keeps "
            f"{kept_bytes(model) / 1e6:,.2f} of {whole_bytes / 1e6:,.2f} MB of weights between the steps"
        )

    @property
    def _by_layer(self) -> bool:
        return self._parallel.sharding == "zero3"

    def passes(self, work: Sequence[Work], idle: Work, *, training: bool) -> Iterator[tuple[Work, float]]:
        """See ``Strategy``."""
        assert self._root is not None
        most = most_of_processes(self.accelerator, len(work))
        weighted = chain(zip(work, repeat(1.0)), repeat((idle, 0.0), most - len(work)))
        for number, (item, weight) in enumerate(weighted, start=1):
            if training and not self._by_layer:
                _sharded_modules(self._root)[0].set_reshard_after_backward(number == most)
            yield item, weight
        if not training:  # no backward pass frees what the forward passes gathered
            for module in _sharded_modules(self._root):
                module.reshard()

    def compute(self, forward: Callable[[], Losses]) -> Losses:
        """See ``Strategy``."""
        assert self._root is not None
        losses: Losses = self._root(forward)
        return losses

    def step(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter], *, max_norm: float) -> float:
        """See ``Strategy``. Gradients were summed as they were made."""
        norm = gradient_norm(parameters)
        whole: Tensor = norm.full_tensor() if isinstance(norm, DTensor) else norm
        return clip_and_step(optimizer, parameters, whole, max_norm=max_norm)

    def gather(self, tensor: Tensor, *, keep: bool) -> Tensor:
        """See ``Strategy``."""
        tensor = tensor.detach()
        if not isinstance(tensor, DTensor):
            return tensor
        # An offloaded shard is gathered on the device, which has the fast network.
        on_device: Any = tensor.to(tensor.device_mesh.device_type)
        whole: Tensor = on_device.full_tensor()
        return whole.cpu() if keep else whole.new_empty(0)

    def shard(self, whole: Tensor, like: Tensor) -> Tensor:
        """See ``Strategy``."""
        moved = whole.to(like.device)
        if not isinstance(like, DTensor):
            return moved
        shard = distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
        return shard.to(like.device)  # of an offloaded parameter, main memory

    def state_dict(self, model: nn.Module, *, keep: bool, dtype: torch.dtype | None) -> dict[str, Tensor]:
        """See ``Strategy``."""
        named = model.state_dict(keep_vars=True)
        adapted = any(not tensor.requires_grad for tensor in model.parameters())
        wholes: dict[int, Tensor] = {}  # tied weights once
        state: dict[str, Tensor] = {}
        for name, tensor in named.items():
            if adapted and not tensor.requires_grad:
                continue
            if id(tensor) not in wholes:
                whole = self.gather(tensor, keep=keep)
                wholes[id(tensor)] = whole.to(dtype) if dtype and whole.is_floating_point() else whole
            state[name] = wholes[id(tensor)]
        return state if keep else {}


class _Root(nn.Module):
    """What ``fully_shard`` takes for the outermost module: a forward pass and the losses that are made of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Losses]) -> Losses:
        # Copies: a view would lose the hook that gathers the weights again for the backward pass.
        return {name: losses.clone() for name, losses in compute().items()}


def offload_policy(parallel: ParallelOptions, device: torch.device) -> OffloadPolicy:
    """Where shards of weights, gradients and optimizer state are between the passes.

    Pinned memory, which lets copies overlap with computing, exists for CUDA only. On a CPU the policy runs the same
    code and moves nothing.
    """
    return CPUOffloadPolicy(pin_memory=device.type == "cuda") if parallel.offload == "cpu" else OffloadPolicy()


def kept_bytes(model: nn.Module) -> int:
    """The bytes of the weights, or of its shards of them, that this process keeps."""
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
        raise UserError(f"{type(decoder).__name__} has no list of {count} layers to shard. Choose --sharding none.")
    return list(layers)


def _sharded_modules(root: nn.Module) -> list[FSDPModule]:
    """The modules whose weights are gathered together, the outermost first."""
    return [module for module in root.modules() if isinstance(module, FSDPModule)]
