"""How long a training takes, from ten seconds of measuring on the device that would train.

One real layer of the model's shape, with random weights, goes through real micro-batches of the data: forward and
backward, adapter and all. So does the loss, over a part of the vocabulary; and the optimizer takes its step. Each
micro-batch runs twice, since in a training the first layer computes a shape that is new to the libraries, which have it
prepared for the others.
"""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from response_tuning.kernels.linear_cross_entropy import (
    default_tile_rows,
    linear_cross_entropy,
    trained_linear_cross_entropy,
)
from response_tuning.kernels.packed_attention import attend_within_examples
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.options import Dtype, Tuning
from response_tuning.training.batches.packing import restarting_positions
from response_tuning.training.optimizer import clip_and_step, gradient_norm, make_optimizer
from response_tuning.training.planning.plan_memory import MicroBatchSize
from response_tuning.training.planning.timing import matmul_rates, seconds_of
from response_tuning.training.training_config import (
    AdapterOptions,
    MemoryOptions,
    OptimizationOptions,
    TrainingConfig,
)
from response_tuning.training.tuning import make_trainable

__all__ = ["Speed", "measure_speed"]

_SMALL_VOCABULARY = 256
_HEAD_TILES = 4
_PEAK_FRACTION, _OPTIMIZER_FRACTION = 0.15, 0.1


@dataclass(frozen=True)
class Speed:
    """What was measured, in seconds."""

    layer_per_token: float
    """All layers, forward and backward, by padded token."""
    loss_per_token: float
    """The loss and its gradient over the whole vocabulary, by supervised token."""
    step: float
    """Clipping and the optimizer, by optimizer step."""
    peak_flops: float
    """The best rate of matmuls here in their dtype, in operations per second."""
    micro_batches: int
    """How many were timed."""


def measure_speed(
    model_config: PreTrainedConfig,
    config: TrainingConfig,
    micro_batches: Sequence[MicroBatchSize],
    *,
    trained_parameters: int,
    device: torch.device,
    seconds: float = 10.0,
) -> Speed:
    """Time the parts of a training.

    Args:
        model_config: The architecture; nothing of its weights is read.
        config: The training.
        micro_batches: All of an epoch, of which some are timed.
        trained_parameters: How many there are in the whole model.
        device: Where training would be.
        seconds: About how long to measure. One micro-batch is timed in any case.
    """
    started = time.perf_counter()
    peak = max(matmul_rates(device, getattr(torch, config.memory.dtype), seconds=_PEAK_FRACTION * seconds))
    layer = _one_layer(model_config, config.adapter, config.memory, device).to(device)
    if any(size.examples for size in micro_batches):
        attend_within_examples(layer, device, config.memory.attention, getattr(torch, config.memory.dtype))
    head = _head_rows(model_config, config.adapter.tuning, config.memory.dtype, device)
    timer = _Timer(
        layer, head, _layer_count(model_config), model_config.get_text_config().vocab_size, config.memory.dtype, device
    )
    ordered = _representative(micro_batches)
    timer.time(ordered[-1])  # warms up
    sampled: list[_Timed] = []
    for size in ordered:
        sampled.append(timer.time(size))
        if time.perf_counter() - started > (1 - _OPTIMIZER_FRACTION) * seconds:
            break
    step = _step_seconds(layer, config.optimization, device, seconds=_OPTIMIZER_FRACTION * seconds)
    layer_trained = sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)
    return Speed(
        layer_per_token=sum(each.layers for each in sampled) / sum(each.size.padded for each in sampled),
        loss_per_token=sum(each.loss for each in sampled) / sum(each.size.supervised for each in sampled),
        step=step * trained_parameters / layer_trained,
        peak_flops=peak,
        micro_batches=len(sampled),
    )


@dataclass(frozen=True)
class _Timed:
    """The seconds of one micro-batch."""

    size: MicroBatchSize
    layers: float
    loss: float


@dataclass(frozen=True)
class _Timer:
    layer: nn.Module
    head: Tensor
    layer_count: int
    vocabulary: int
    dtype: Dtype
    device: torch.device

    def time(self, size: MicroBatchSize) -> _Timed:
        """Time one micro-batch in all layers, and its loss over the whole vocabulary."""
        first, again = (seconds_of(lambda: self._run_layer(size), self.device) for _ in range(2))
        loss = seconds_of(lambda: self._run_loss(size), self.device)
        return _Timed(size, first + (self.layer_count - 1) * again, loss * self.vocabulary / len(self.head))

    def _run_layer(self, size: MicroBatchSize) -> None:
        decoder, _ = decoder_and_head(self.layer)
        input_ids = torch.randint(_SMALL_VOCABULARY, (size.rows, size.length), device=self.device)
        packed = {"position_ids": restarting_positions(size.examples).to(self.device)} if size.examples else {}
        with disable_input_dtype_casting(self.layer), _autocast(self.dtype, self.device):
            hidden = decoder(input_ids=input_ids, use_cache=False, **packed).last_hidden_state
            hidden.backward(torch.ones_like(hidden))

    def _run_loss(self, size: MicroBatchSize) -> None:
        """Random states make all tokens about equally likely and no tile is skipped; real ones take a quarter less."""
        hidden = torch.randn(
            (size.supervised, self.head.shape[1]), dtype=self.head.dtype, device=self.device, requires_grad=True
        )
        targets = torch.randint(len(self.head), (size.supervised,), device=self.device)
        with _autocast(self.dtype, self.device):
            if not self.head.requires_grad:
                linear_cross_entropy(hidden, self.head, targets).sum().backward()
                return
            losses = trained_linear_cross_entropy(hidden, self.head, targets)
            # The embeddings get a gradient of the same size.
            embedded = nn.functional.embedding(targets, self.head)
            (losses.sum() + embedded.sum()).backward()


def _autocast(dtype: Dtype, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16")


def _representative(micro_batches: Sequence[MicroBatchSize]) -> list[MicroBatchSize]:
    """All of them, in an order in which the first few represent all lengths: the middle, the quarters, and so on."""
    by_length = sorted(micro_batches, key=lambda size: (size.length, size.rows))
    order: list[int] = []
    parts = 2
    while len(order) < len(by_length) and parts <= 4 * len(by_length):
        order += [part * len(by_length) // parts for part in range(1, parts, 2)]
        order = list(dict.fromkeys(order))
        parts *= 2
    return [by_length[place] for place in order]


def _layer_count(model_config: PreTrainedConfig) -> int:
    return int(model_config.get_text_config().num_hidden_layers)


def _one_layer(
    model_config: PreTrainedConfig, adapter: AdapterOptions, memory: MemoryOptions, device: torch.device
) -> nn.Module:
    """The model with one layer, of the kind that it has most of, and a small vocabulary; weights are random."""
    small = copy.deepcopy(model_config)
    text = small.get_text_config()
    kinds = list(getattr(text, "layer_types", None) or [])
    if kinds:
        text.layer_types = [max(kinds, key=kinds.count)]
    text.num_hidden_layers = 1
    text.vocab_size = _SMALL_VOCABULARY
    text.pad_token_id = text.bos_token_id = text.eos_token_id = None
    dtype = torch.float32 if adapter.tuning == "full" else getattr(torch, memory.dtype)
    model: nn.Module = AutoModelForCausalLM.from_config(small, dtype=dtype, trust_remote_code=False)
    return make_trainable(model.requires_grad_(False), adapter, memory, device).train()


def _head_rows(model_config: PreTrainedConfig, tuning: Tuning, dtype: Dtype, device: torch.device) -> Tensor:
    """A few tiles of an output head."""
    text = model_config.get_text_config()
    rows = min(text.vocab_size, _HEAD_TILES * default_tile_rows(on_cpu=device.type == "cpu"))
    full = tuning == "full"
    kept = torch.float32 if full else getattr(torch, dtype)
    return torch.randn((rows, text.hidden_size), dtype=kept, device=device).mul_(0.02).requires_grad_(full)


def _step_seconds(layer: nn.Module, options: OptimizationOptions, device: torch.device, *, seconds: float) -> float:
    """The median time of clipping and the optimizer's step over the layer's trained parameters."""
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(trained, options.model_copy(update={"optimizer": "adamw"}), device)
    max_norm = options.max_gradient_norm

    def step() -> None:
        for parameter in trained:
            parameter.grad = torch.ones_like(parameter)
        clip_and_step(optimizer, trained, gradient_norm(trained), max_norm=max_norm)

    step()
    return _median_seconds(step, device, seconds=seconds)


def _median_seconds(work: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    ended = time.perf_counter() + seconds
    taken = [seconds_of(work, device)]
    while time.perf_counter() < ended:
        taken.append(seconds_of(work, device))
    return statistics.median(taken)
