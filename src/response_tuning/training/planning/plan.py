"""What a training would take, before it is started: parameters, memory, tokens, steps and time.

``make_plan`` reads the configuration, the data and the tokenizer, and no weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedConfig

from response_tuning.conversation import EncodedExample, encode_examples
from response_tuning.example import Example
from response_tuning.models.context import require_context
from response_tuning.models.device import pick_device
from response_tuning.models.heads import decoder_and_head
from response_tuning.models.load import load_model_config, load_tokenizer
from response_tuning.support.configuration import changed
from response_tuning.support.options import Tuning
from response_tuning.training.batches.batching import Unit, epoch_batches, micro_batches, units
from response_tuning.training.batches.packing import pack, padded_lengths
from response_tuning.training.encoding import conversation_for
from response_tuning.training.objectives.registry import make_objective
from response_tuning.training.planning.memory import available_memory, named_part, next_settings, program_memory
from response_tuning.training.planning.micro_batch import micro_batch_tokens
from response_tuning.training.planning.plan_memory import (
    MemoryPlan,
    MicroBatchSize,
    empty_model,
    plan_memory,
    unique_parameters,
)
from response_tuning.training.planning.plan_speed import Speed, measure_speed
from response_tuning.training.trainer import load_rows, resolve
from response_tuning.training.training_config import (
    AdapterOptions,
    MemoryOptions,
    ParallelOptions,
    Switch,
    TrainingConfig,
)

__all__ = [
    "Parameters",
    "Plan",
    "Suggestion",
    "TimePlan",
    "TokenPlan",
    "count_parameters",
    "devices_at_work",
    "make_plan",
]

_ROW = {"prompt": "Is it?", "completion": "yes", "rejected": "no", "answer": "no"}
_ROWS = [
    Example.model_validate({**_ROW, "desirable": desirable, "grade": grade})
    for desirable, grade in ((True, 9), (False, 0))
]
"""Rows that every objective accepts."""


@dataclass(frozen=True)
class Parameters:
    """How many there are."""

    base: int
    trained: int
    layers: int
    """Of the base, without embeddings and head."""
    head: int


@dataclass(frozen=True)
class TokenPlan:
    """Tokens and steps, of the first epoch except where noted."""

    examples: int
    truncated: int
    prompt: int
    supervised: int
    padding: int
    longest: int
    micro_batches: int
    steps: int
    all_steps: int
    """Of all epochs."""


@dataclass(frozen=True)
class TimePlan:
    """Expected seconds of all epochs, without loading and saving, and what they were computed from."""

    layers: float
    loss: float
    optimizer: float
    held_out: float
    peak_fraction: float
    """Operations of all layers and the loss in a second, as a fraction of the best rate of matmuls."""
    speed: Speed

    @property
    def total(self) -> float:
        """All of them."""
        return self.layers + self.loss + self.optimizer + self.held_out


@dataclass(frozen=True)
class Suggestion:
    """Options that would take less memory."""

    options: dict[str, Any]
    total_bytes: int
    fits: bool


@dataclass(frozen=True)
class Plan:
    """What a training would take."""

    config: TrainingConfig
    device: str
    parameters: Parameters
    memory: MemoryPlan
    largest: MicroBatchSize
    available_bytes: int
    tokens: TokenPlan
    time: TimePlan | None
    """None where not even one layer can be measured, since the training does not fit."""
    suggestion: Suggestion | None
    """The first change that fits, or else the one that takes least; None where everything fits."""

    @property
    def fits(self) -> bool:
        """Whether the peak is within the memory that there is."""
        return self.memory.total <= self.available_bytes


def make_plan(config: TrainingConfig, *, seconds: float = 10.0) -> Plan:
    """Compute what ``train(config)`` would take. Nothing is written.

    Args:
        config: The training.
        seconds: About how long to measure the speed.

    Raises:
        UserError: bad data, or a model that cannot be loaded.
    """
    config = resolve(config)
    device = pick_device(config.memory.device)
    program = program_memory()
    available = available_memory(device)
    encoded, held_out, rows_each = _encode(config)
    model_config = load_model_config(config.model)
    longest = max(len(example.input_ids) for example in [*encoded, *held_out])
    tokens_at_once = micro_batch_tokens(config, model_config, longest=longest, device=device)
    config = changed(config, micro_batch_tokens=tokens_at_once)
    packed = _packs(config.batches.packing, device)
    batches = [
        _sizes(batch, config.batches.tokens_at_once, packed=packed)
        for batch in epoch_batches(encoded, batch_size=config.batches.batch_size * rows_each, seed=config.seed)
    ]
    sizes = [size for batch in batches for size in batch]
    parameters = count_parameters(model_config, config.adapter, config.memory)
    memory = _memory(model_config, config, sizes, program=program, device=device)
    tokens = _tokens(encoded, sizes, steps=len(batches), epochs=config.batches.epochs)
    fits = memory.total <= available
    return Plan(
        config=config,
        device=device.type,
        parameters=parameters,
        memory=memory,
        largest=_largest(sizes),
        available_bytes=available,
        tokens=tokens,
        time=_time(model_config, config, sizes, held_out, parameters, tokens, device, seconds) if fits else None,
        suggestion=None if fits else _suggest(model_config, config, encoded, program, available, device),
    )


def _encode(config: TrainingConfig) -> tuple[list[EncodedExample], list[EncodedExample], int]:
    """The examples to train on, the held-out ones, and how many are made of each row of the data."""
    conversation = conversation_for(load_tokenizer(config.model), config.encoding)
    objective = make_objective(config)
    rows_each = len(objective.preparation.rows(_ROWS, source="")) // len(_ROWS) if objective.preparation else 1
    both: list[list[EncodedExample]] = []
    for source in (config.data, config.validation.held_out):
        examples = load_rows(source, config.method, objective, systems=config.encoding.reads_system)
        if examples:
            encoded, report = encode_examples(
                examples,
                conversation,
                config.method,
                max_length=config.encoding.max_length,
                overlong=config.encoding.overlong,
            )
            require_context(encoded, report, load_model_config(config.model), source=source)
        both.append(encoded if examples else [])
    return both[0], both[1], rows_each


def _packs(packing: Switch, device: torch.device) -> bool:
    """Whether training will pack, as far as that is known without the model.

    On the CPU attention is computed within examples, and packing is hardly ever more work. Elsewhere ``auto`` decides
    once the model is loaded, and padded batches are the more careful guess.
    """
    return packing == "on" or (packing == "auto" and device.type == "cpu")


def _sizes(batch: Sequence[EncodedExample], tokens: int, *, packed: bool) -> list[MicroBatchSize]:
    """The micro-batches of an optimizer step, as training splits it."""
    parts = (pack if packed else micro_batches)(units(batch), tokens=tokens)
    return [_size(part, packed=packed) for part in parts]


def _size(part: Sequence[Unit], *, packed: bool) -> MicroBatchSize:
    lengths = tuple(unit.tokens for unit in part)
    supervised = sum(unit.supervised_count for unit in part)
    if packed:
        examples = tuple(padded_lengths(lengths))
        return MicroBatchSize(rows=1, length=sum(examples), supervised=supervised, examples=examples)
    return MicroBatchSize(rows=len(part), length=max(lengths), supervised=supervised)


def _loss_tokens(supervised: int, config: TrainingConfig) -> int:
    """The most hidden states that the loss of that many supervised tokens is computed from."""
    preparation = make_objective(config).preparation
    return preparation.most_positions(supervised) if preparation else supervised


def _largest(sizes: Sequence[MicroBatchSize]) -> MicroBatchSize:
    """The micro-batch of most padded tokens, with the most supervised tokens of any."""
    most = max(sizes, key=lambda size: size.padded)
    return replace(most, supervised=max(size.supervised for size in sizes))


def count_parameters(model_config: PreTrainedConfig, adapter: AdapterOptions, memory: MemoryOptions) -> Parameters:
    """The parameters of the model that is trained; none of its weights are read."""
    model = empty_model(model_config, adapter, memory, torch.device("cpu"))
    base = [
        parameter for parameter in unique_parameters(model) if adapter.tuning == "full" or not parameter.requires_grad
    ]
    _, head = decoder_and_head(model)
    embeddings = model.get_input_embeddings().weight  # type: ignore[operator]
    vocabulary = {id(head.weight): head.weight.numel(), id(embeddings): embeddings.numel()}
    total = sum(parameter.numel() for parameter in base)
    return Parameters(
        base=total,
        trained=sum(parameter.numel() for parameter in unique_parameters(model) if parameter.requires_grad),
        layers=total - sum(vocabulary.values()),
        head=head.weight.numel(),
    )


def _memory(
    model_config: PreTrainedConfig,
    config: TrainingConfig,
    sizes: Sequence[MicroBatchSize],
    *,
    program: int,
    device: torch.device,
) -> MemoryPlan:
    largest = _largest(sizes)
    return plan_memory(
        empty_model(model_config, config.adapter, config.memory, device),
        config,
        replace(largest, supervised=_loss_tokens(largest.supervised, config)),
        shapes=len({(size.rows, size.length) for size in sizes}),
        program=program,
        on_cpu=device.type == "cpu",
    )


def _tokens(
    encoded: Sequence[EncodedExample], sizes: Sequence[MicroBatchSize], *, steps: int, epochs: int
) -> TokenPlan:
    prompt = sum(example.prompt_length for example in encoded)
    supervised = sum(example.supervised_count for example in encoded)
    return TokenPlan(
        examples=len(encoded),
        truncated=sum(example.truncated for example in encoded),
        prompt=prompt,
        supervised=supervised,
        padding=sum(size.padded for size in sizes) - prompt - supervised,
        longest=max(len(example.input_ids) for example in encoded),
        micro_batches=len(sizes),
        steps=steps,
        all_steps=epochs * steps,
    )


def _time(
    model_config: PreTrainedConfig,
    config: TrainingConfig,
    sizes: Sequence[MicroBatchSize],
    held_out: Sequence[EncodedExample],
    parameters: Parameters,
    tokens: TokenPlan,
    device: torch.device,
    seconds: float,
) -> TimePlan:
    with named_part("one layer, to measure its speed", config, longest=tokens.longest):
        speed = measure_speed(
            model_config,
            config,
            sizes,
            trained_parameters=parameters.trained,
            device=device,
            seconds=seconds,
        )
    layers = (
        config.batches.epochs
        * speed.layer_per_token
        * sum(size.padded for size in sizes)
        / devices_at_work(config.parallel)
    )
    loss = (
        config.batches.epochs
        * speed.loss_per_token
        * _loss_tokens(tokens.supervised, config)
        / devices_at_work(config.parallel)
    )
    operations = (
        _passes(config.adapter.tuning)
        * 2
        * (
            parameters.layers * (tokens.prompt + tokens.supervised)
            + parameters.head * _loss_tokens(tokens.supervised, config)
        )
    )
    return TimePlan(
        layers=layers,
        loss=loss,
        optimizer=speed.step * tokens.all_steps,
        held_out=_held_out_seconds(config, held_out, speed, tokens),
        peak_fraction=config.batches.epochs
        * operations
        / devices_at_work(config.parallel)
        / (layers + loss)
        / speed.peak_flops,
        speed=speed,
    )


def devices_at_work(parallel: ParallelOptions) -> int:
    """How many work in parallel. Processes on one machine's CPU do not make it faster: each has fewer cores."""
    return max(parallel.gpus, 1) * parallel.nodes


def _passes(tuning: Tuning) -> int:
    """How often each parameter is multiplied with each token: forward, for the inputs' gradient, and for its own."""
    return 3 if tuning == "full" else 2


def _held_out_seconds(
    config: TrainingConfig, held_out: Sequence[EncodedExample], speed: Speed, tokens: TokenPlan
) -> float:
    """The forward pass over the held-out examples, as often as it is measured."""
    if not held_out:
        return 0.0
    every = config.validation.held_out_every or tokens.steps
    measurements = -(-tokens.all_steps // every)
    sizes = _sizes(held_out, config.batches.tokens_at_once, packed=False)
    layers = speed.layer_per_token * sum(size.padded for size in sizes)
    loss = speed.loss_per_token * sum(size.supervised for size in sizes)
    return (
        measurements
        * (layers + loss)
        / (_passes(config.adapter.tuning) + config.memory.gradient_checkpointing)
        / devices_at_work(config.parallel)
    )


def _suggest(
    model_config: PreTrainedConfig,
    config: TrainingConfig,
    encoded: Sequence[EncodedExample],
    program: int,
    available: int,
    device: torch.device,
) -> Suggestion | None:
    """The first change that fits; where none does, the one that takes least."""
    tried: list[Suggestion] = []
    for options in next_settings(config, longest=max(len(example.input_ids) for example in encoded)):
        smaller = changed(config, **options)
        cut = [
            _cut(example, smaller.encoding.max_length)
            for example in encoded
            if example.prompt_length < smaller.encoding.max_length
        ]
        if not cut:
            continue
        batches = epoch_batches(cut, batch_size=smaller.batches.batch_size, seed=smaller.seed)
        tokens, packed = smaller.batches.tokens_at_once, _packs(smaller.batches.packing, device)
        sizes = [size for batch in batches for size in _sizes(batch, tokens, packed=packed)]
        total = _memory(model_config, smaller, sizes, program=program, device=device).total
        tried.append(Suggestion(options, total, total <= available))
        if tried[-1].fits:
            return tried[-1]
    return min(tried, key=lambda suggestion: suggestion.total_bytes, default=None)


def _cut(example: EncodedExample, length: int) -> EncodedExample:
    return EncodedExample(example.input_ids[:length], example.prompt_length)
