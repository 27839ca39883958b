"""The memory of a training, by part, without its weights: parameters have shapes here and no values.

The model is built on torch's device "meta", adapter and all, so parameters, gradients and the optimizer's state are
counted and not estimated. For the activations one forward and backward pass of the largest micro-batch runs on fake
tensors, which go through the same operations as real ones (the same attention kernel, the same autocast) but hold
nothing; what would be alive at any moment is added up.
"""

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import AutoModelForCausalLM, PreTrainedConfig

from response_tuning.kernels.linear_cross_entropy import default_tile_rows
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.options import Dtype, Tuning
from response_tuning.training.parallel.fsdp import decoder_layers
from response_tuning.training.training_config import AdapterOptions, MemoryOptions, ParallelOptions, TrainingConfig
from response_tuning.training.tuning import make_trainable

__all__ = ["MemoryPlan", "MicroBatchSize", "empty_model", "plan_memory", "unique_parameters"]

_LIBRARIES_BYTES = 250_000_000
"""What code and buffers that are loaded by the first step add to a program on the CPU (docs/log.md)."""
_CACHE_BYTES_PER_SHAPE = 45_000_000
"""What oneDNN caches of bf16 matmuls for each new shape of a micro-batch, and the gaps that this leaves in the heap:
fitted to 4 and 14 shapes of the embedded model (docs/log.md)."""
_CACHED_SHAPES = 16
"""About as many as fit into the 1,024 matmuls that oneDNN caches."""
_HEAP_SLACK = 0.2
"""What gaps in the C library's heap add to small blocks, measured with the embedded model (docs/log.md)."""
_OWN_MAPPING_BYTES = 32 * 2**20
"""The C library gives blocks of this size back to the system at once, and keeps smaller ones (mallopt(3))."""
_NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4 with double quantisation: 4 bits, an 8-bit scale for 64 of them (Dettmers et al. 2023)."""


@dataclass(frozen=True)
class MicroBatchSize:
    """The size of what is computed at once."""

    rows: int
    length: int
    supervised: int
    examples: tuple[int, ...] = ()
    """The lengths of a packed row's examples; none where rows are padded."""

    @property
    def padded(self) -> int:
        """Tokens, padding counted."""
        return self.rows * self.length


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by part, on the device that trains."""

    program: int
    """Python and its libraries; on a GPU nothing, as these are in main memory there."""
    caches: int
    """What the CPU's matmul library caches for shapes that it has seen."""
    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    """Of the largest micro-batch, at the highest point of its forward and backward pass."""
    gathered: int
    """Whole weights and gradients that each process holds for a while, where ``weights`` are shards."""
    loss: int
    """The tile of logits and what else the loss holds, of the largest micro-batch."""
    slack: int
    """Memory that the allocator holds and cannot use."""

    @property
    def total(self) -> int:
        """The peak."""
        return sum(vars(self).values())


def empty_model(
    model_config: PreTrainedConfig, adapter: AdapterOptions, memory: MemoryOptions, device: torch.device
) -> nn.Module:
    """The model that is trained on ``device``, adapter included, but on "meta": shapes and types, no values."""
    dtype = torch.float32 if adapter.tuning == "full" else getattr(torch, memory.dtype)
    with torch.device("meta"):
        model: nn.Module = AutoModelForCausalLM.from_config(model_config, dtype=dtype, trust_remote_code=False)
        model = make_trainable(model.requires_grad_(False), adapter, memory, device)
    return model.train()


def plan_memory(
    model: nn.Module, config: TrainingConfig, largest: MicroBatchSize, *, shapes: int, program: int, on_cpu: bool
) -> MemoryPlan:
    """Memory by part, of a model from ``empty_model``, which is left with fake weights.

    Args:
        model: The model with its adapter.
        config: The training.
        largest: The largest micro-batch, and the most supervised tokens of any.
        shapes: How many micro-batches differ in rows or length.
        program: Bytes that the program holds before it loads anything.
        on_cpu: Whether the CPU trains; otherwise the GPU.
    """
    parameters = list(unique_parameters(model))
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    processes = _processes(config.parallel)
    tuning, dtype = config.adapter.tuning, config.memory.dtype
    whole_gradients = sum(parameter.numel() * 4 for parameter in trained)
    gradients = whole_gradients // processes
    offloaded = config.parallel.offload == "cpu" and not on_cpu
    adapter = 0 if tuning == "full" else sum(parameter.numel() * parameter.element_size() for parameter in trained)
    head = decoder_and_head(model)[1].weight
    gathered = _gathered_bytes(model, config) if processes > 1 else 0
    loss = _loss_bytes(head, largest, tuning, dtype, on_cpu=on_cpu)
    # The workspace of a step is needed when the activations are freed: one parameter at a time on the CPU.
    workspace = 2 * (max(parameter.numel() * 4 for parameter in trained) // processes if on_cpu else gradients)
    activations = max(_activation_bytes(model, largest, tuning, dtype, on_cpu=on_cpu), workspace - loss)
    return MemoryPlan(
        program=program + _LIBRARIES_BYTES if on_cpu else 0,
        caches=_CACHE_BYTES_PER_SHAPE * min(shapes, _CACHED_SHAPES) if on_cpu and dtype == "bfloat16" else 0,
        weights=0 if offloaded else _weight_bytes(model, tuning) // processes,
        adapter=0 if offloaded else adapter // processes,
        gradients=0 if offloaded else gradients,
        optimizer=0 if offloaded else 2 * gradients,
        activations=activations,
        gathered=gathered,
        loss=loss,
        slack=int(_HEAP_SLACK * activations) if on_cpu else 0,
    )


def unique_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Every parameter once, however many names it has."""
    yield from dict.fromkeys(model.parameters())


def _weight_bytes(model: nn.Module, tuning: Tuning) -> int:
    """The base model's weights and buffers, without an adapter."""
    tensors: Iterable[Tensor] = dict.fromkeys([*model.parameters(), *model.buffers()])
    whole = sum(
        tensor.numel() * tensor.element_size() for tensor in tensors if tuning == "full" or not tensor.requires_grad
    )
    if tuning != "qlora":
        return whole
    return whole - int(sum(weight.numel() * (weight.element_size() - _NF4_BYTES) for weight in _quantised(model)))


def _processes(parallel: ParallelOptions) -> int:
    """Over how many processes weights, gradients and optimizer state are sharded."""
    return 1 if parallel.sharding == "none" else parallel.per_node * parallel.nodes


def _gathered_bytes(model: nn.Module, config: TrainingConfig) -> int:
    """The weights outside the layers, those of all layers (zero2) or of the current and the next one (zero3), and the
    gradients that are not reduced yet: of one layer, or of the weights outside."""
    layers = [list(dict.fromkeys(layer.parameters())) for layer in decoder_layers(model)]
    within = {parameter for layer in layers for parameter in layer}
    outside = [parameter for parameter in unique_parameters(model) if parameter not in within]
    narrow = config.adapter.tuning == "full" and config.memory.dtype == "bfloat16"
    sizes = sorted(
        sum(weight.numel() * (2 if narrow else weight.element_size()) for weight in layer) for layer in layers
    )
    at_once = sum(sizes if config.parallel.sharding == "zero2" else sizes[-2:])
    gradients = (sum(weight.numel() * 4 for weight in group if weight.requires_grad) for group in [outside, *layers])
    return sum(weight.numel() * weight.element_size() for weight in outside) + at_once + max(gradients)


def _quantised(model: nn.Module) -> Iterator[Tensor]:
    """The weights that qlora keeps in 4 bits: of every linear layer but the head."""
    head = decoder_and_head(model)[1]
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not head and not module.weight.requires_grad:
            yield module.weight


def _loss_bytes(head: Tensor, largest: MicroBatchSize, tuning: Tuning, dtype: Dtype, *, on_cpu: bool) -> int:
    """What the cross-entropy holds at once: tiles of logits, and rows of hidden states."""
    tokens, (vocabulary, width) = largest.supervised, head.shape
    tile = min(vocabulary, default_tile_rows(on_cpu=on_cpu))
    value_bytes = 2 if dtype == "bfloat16" else 4
    held = tokens * tile * (4 + value_bytes) + 5 * tokens * width * 4
    if tuning == "full":
        # The head's own gradient is held beside the sum of gradients, and each tile is converted.
        held += vocabulary * width * 4 + 2 * tile * width * value_bytes
    return held


def _activation_bytes(model: nn.Module, largest: MicroBatchSize, tuning: Tuning, dtype: Dtype, *, on_cpu: bool) -> int:
    """The highest point of a forward and backward pass of the decoder, beyond weights and gradients."""
    device = "cpu" if on_cpu else "cuda"
    decoder, _ = decoder_and_head(model)
    quantised = [weight.numel() * 2 for weight in _quantised(model)] if tuning == "qlora" else []
    with FakeTensorMode():
        _give_fake_weights(model, device)
        alive = _Alive(keeps_small=on_cpu)
        input_ids = torch.zeros((largest.rows, largest.length), dtype=torch.long, device=device)
        with (
            _fp32_inputs_kept(model),
            alive,
            torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"),
        ):
            hidden = decoder(input_ids=input_ids, use_cache=False).last_hidden_state
            hidden.backward(torch.zeros_like(hidden))
    return alive.peak + max(quantised, default=0)


def _fp32_inputs_kept(model: nn.Module) -> Any:
    """As in training: autocast converts the inputs of adapter layers, and PEFT does not."""
    from peft.helpers import disable_input_dtype_casting

    return disable_input_dtype_casting(model)


def _give_fake_weights(model: nn.Module, device: str) -> None:
    """Put fake tensors of ``device`` in the place of all on "meta", with gradients where they train."""
    made: dict[Tensor, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if parameter not in made:
                    made[parameter] = _fake_parameter(parameter, device)
                module._parameters[name] = made[parameter]  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype, device=device)


def _fake_parameter(parameter: nn.Parameter, device: str) -> nn.Parameter:
    values = torch.zeros(parameter.shape, dtype=parameter.dtype, device=device)
    fake = nn.Parameter(values, requires_grad=parameter.requires_grad)
    if fake.requires_grad:
        fake.grad = torch.zeros_like(fake)  # gradients are counted apart
    return fake


class _Alive(TorchDispatchMode):
    """Adds up the storages that operations within the block make, until they are freed.

    With ``keeps_small``, as on the CPU, blocks that the C library does not map on their own stay with the
    process at their highest sum: the heap hardly shrinks.
    """

    def __init__(self, *, keeps_small: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._own_mapping_bytes = _OWN_MAPPING_BYTES if keeps_small else 0
        self._sizes: dict[int, int] = {}
        self._small = self._highest_small = self._large = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self._note(tensor.untyped_storage(), made_here=False)
        result = function(*args, **kwargs)
        for tensor in _tensors(result):
            self._note(tensor.untyped_storage(), made_here=True)
        return result

    def _note(self, storage: torch.UntypedStorage, *, made_here: bool) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = 0
        weakref.finalize(storage, self._forget, key)
        if made_here:
            self._sizes[key] = storage.nbytes()
            self._add(storage.nbytes(), 1)

    def _forget(self, key: int) -> None:
        size = self._sizes.pop(key, 0)
        self._add(size, -1)

    def _add(self, size: int, sign: int) -> None:
        if size >= self._own_mapping_bytes:
            self._large += sign * size
        else:
            self._small += sign * size
            self._highest_small = max(self._highest_small, self._small)
        self.peak = max(self.peak, self._highest_small + self._large)


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor))
