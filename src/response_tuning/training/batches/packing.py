"""Packing: several examples in one row without padding, where none sees another.

A padded batch computes as many tokens for its shortest row as for its longest. A packed row holds whole examples, one
after the other, and no more padding than makes its length a round number. Two things keep them apart, so that loss
and gradients are those of padded rows:

- positions restart at 0 with every example, for the position embeddings;
- attention is block-diagonal. Given such positions *and no attention mask*, transformers makes a mask like this one of
  three examples for SDPA, eager and FlexAttention, sliding windows included, and hands FlashAttention the examples'
  bounds (the latter only for a batch of a single row, which is why a packed batch always is one row):

      positions   0 1 2 0 1 0 1 2

                  x . . . . . . .
                  x x . . . . . .
                  x x x . . . . .
                  . . . x . . . .
                  . . . x x . . .
                  . . . . . x . .
                  . . . . . x x .
                  . . . . . x x x

A model that does otherwise would leak silently, so ``obstacle`` tests it before training begins.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from inspect import signature

import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate, padding_to_round
from response_tuning.kernels.packed_attention import attend_within_examples, mask_instead_of_bounds
from response_tuning.kernels.varlen_attention import packed_arguments
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.support.options import Attention
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import MicroBatch, Unit, epoch_batches, micro_batches, units
from response_tuning.training.training_config import BatchOptions

__all__ = [
    "collate_packed",
    "collated",
    "decide_packing",
    "obstacle",
    "pack",
    "padded_lengths",
    "parts_of",
    "restarting_positions",
    "split",
]

_PROBE_EXAMPLES = 3
_PROBE_TOKENS = 24
"""How much of how many examples ``obstacle`` looks at."""
_MOST_MOVED_FP32 = 1e-4
_MOST_MOVED = 0.2
"""How far, relative to their norm, hidden states may move. With Gemma 3 270M rounding moves them by 1e-6 in fp32 and
0.06 in bf16, a leak by 1."""


def pack(batch: Sequence[Unit], *, tokens: int) -> list[list[Unit]]:
    """Put units into bins of at most ``tokens`` tokens each (or one unit, if that alone is longer).

    Best-fit decreasing: longest first, each unit goes into the fullest bin that it fits into. That never takes more
    than 11/9 of the fewest possible bins and one more (Johnson 1973). Equal lengths keep their order.
    """
    bins: list[list[Unit]] = []
    free: list[tuple[int, int]] = []  # tokens left in each bin, and its index, in increasing order
    for unit in sorted(batch, key=lambda unit: -unit.tokens):
        best = bisect_left(free, (unit.tokens, 0))
        if best < len(free):
            left, index = free.pop(best)
        else:
            left, index = max(tokens, unit.tokens), len(bins)
            bins.append([])
        bins[index].append(unit)
        insort(free, (left - unit.tokens, index))
    return bins


def collate_packed(examples: Sequence[EncodedExample]) -> Batch:
    """Collate examples into one packed row; its padding comes last, like one more example."""
    lengths = torch.tensor([len(example.input_ids) for example in examples])
    padded = padded_lengths(lengths.tolist())
    supervised = torch.tensor([example.supervised_count for example in examples])
    prompts = lengths - supervised
    input_ids = torch.tensor([token for example in examples for token in example.input_ids])
    all_positions = restarting_positions(padded)
    positions = all_positions[0, : len(input_ids)]
    # Never the last position of an example: it would predict the first token of the next one.
    predicting = ((positions >= (prompts - 1).repeat_interleave(lengths)) & ~_is_last(positions)).nonzero().squeeze(1)
    rows = torch.arange(len(examples)).repeat_interleave(supervised)
    targets = input_ids[predicting + 1]
    # A real token: one with an embedding of zeros, alone in its part of the row, gives NaN gradients in Gemma 3n.
    row = nn.functional.pad(input_ids, (0, all_positions.numel() - len(input_ids)), value=int(input_ids[0]))
    return Batch(row[None, :], predicting, targets, rows, all_positions, tuple(padded))


def padded_lengths(lengths: Sequence[int]) -> list[int]:
    """The lengths of the examples of a packed row, and of its padding if it has any."""
    padding = padding_to_round(sum(lengths))
    return [*lengths, padding] if padding else list(lengths)


def restarting_positions(lengths: Sequence[int]) -> Tensor:
    """The positions [1, tokens] of a packed row of examples of such ``lengths``: from 0 in every one."""
    return torch.cat([torch.arange(length) for length in lengths])[None, :]


def _is_last(positions: Tensor) -> Tensor:
    """Whether each token [length] is the last of its example."""
    return torch.cat((positions[1:], positions.new_zeros(1))) == 0


def split(batch: Sequence[Unit], *, tokens: int, packed: bool) -> Iterator[MicroBatch]:
    """The micro-batches of a step: packed rows, or padded ones, of at most ``tokens`` tokens each."""
    return (collated(part, packed=packed) for part in parts_of(batch, tokens=tokens, packed=packed))


def parts_of(batch: Sequence[Unit], *, tokens: int, packed: bool) -> list[list[Unit]]:
    """The units of each micro-batch of a step."""
    return pack(batch, tokens=tokens) if packed else micro_batches(batch, tokens=tokens)


def collated(part: Sequence[Unit], *, packed: bool) -> MicroBatch:
    """One micro-batch: a packed row, or padded ones."""
    examples = [example for unit in part for example in unit.examples]
    return MicroBatch(collate_packed(examples) if packed else collate(examples), part)


@torch.no_grad()
def obstacle(model: nn.Module, examples: Sequence[EncodedExample]) -> str | None:
    """Why ``model`` would not treat examples in a packed row as it treats them alone; None if it does.

    It is tested on the beginnings of a few examples, in evaluation mode. When one example changes, the hidden states of
    the others must stay bitwise identical: a leak of a state-space model in bf16 is no larger than rounding. The hidden
    states must be those of each example alone up to rounding, since matmuls of another shape round otherwise.
    """
    try:
        return _obstacle(model, examples)
    except NotImplementedError as error:  # of varlen attention
        return str(error)


def _obstacle(model: nn.Module, examples: Sequence[EncodedExample]) -> str | None:
    decoder, head = decoder_and_head(model)
    name = type(decoder).__name__
    if "position_ids" not in signature(decoder.forward).parameters:
        return f"{name} takes no positions, which would tell it where an example begins"
    few = (list(examples[:_PROBE_EXAMPLES]) * _PROBE_EXAMPLES)[:_PROBE_EXAMPLES]
    beginnings = [torch.tensor(example.input_ids[:_PROBE_TOKENS]) for example in few]
    together = _hidden_states(decoder, beginnings)
    for index in range(len(beginnings)):
        if _sees_another(decoder, beginnings, together, altered=index, vocabulary=len(head.weight)):
            return f"{name} lets one example of a packed row change another"
    alone = torch.cat([_hidden_states(decoder, [beginning]) for beginning in beginnings])
    most = _MOST_MOVED_FP32 if together.dtype == torch.float32 else _MOST_MOVED
    if not _moved(alone, together) <= most:
        return f"{name} computes an example of a packed row otherwise than alone"
    return None


def _sees_another(
    decoder: nn.Module, beginnings: Sequence[Tensor], together: Tensor, *, altered: int, vocabulary: int
) -> bool:
    """Whether any bit of the other examples' hidden states changes with the tokens of example ``altered``."""
    changed = [(tokens + 1) % vocabulary if index == altered else tokens for index, tokens in enumerate(beginnings)]
    of_example = torch.arange(len(beginnings)).repeat_interleave(torch.tensor([len(tokens) for tokens in beginnings]))
    others = (of_example != altered).to(together.device)
    return not torch.equal(together[others], _hidden_states(decoder, changed)[others])


def _hidden_states(decoder: nn.Module, examples: Sequence[Tensor]) -> Tensor:
    """Final hidden states [tokens, hidden] of the examples in one packed row."""
    device = next(decoder.parameters()).device
    lengths = [len(example) for example in examples]
    positions = restarting_positions(lengths).to(device)
    input_ids = torch.cat(list(examples)).to(device)
    with packed_arguments(decoder, lengths, device) as bounds:
        output = decoder(input_ids=input_ids[None, :], position_ids=positions, use_cache=False, **bounds)
    hidden: Tensor = output.last_hidden_state
    return hidden[0]


def _moved(before: Tensor, after: Tensor) -> float:
    """The largest distance that a token's hidden state moved, relative to its norm."""
    return float(((after.float() - before.float()).norm(dim=1) / before.float().norm(dim=1)).max())


def decide_packing(
    model: nn.Module,
    examples: Sequence[EncodedExample],
    batches: BatchOptions,
    *,
    seed: int,
    device: torch.device | None = None,
    attention: Attention = "auto",
    dtype: torch.dtype = torch.bfloat16,
) -> bool:
    """Decide whether to pack, and log why.

    "auto" compares the operations of an epoch in packed rows and in padded rows of similar length. It counts them and
    measures no time, so that the same configuration, data and model always give the same result.

    Args:
        model: The model.
        examples: The examples to train on.
        batches: Whether packing is asked for, and the sizes of batches.
        seed: Of the batches.
        device: Where the model will compute; None for where it is.
        attention: What is to compute attention.
        dtype: Of the training's matmuls.

    Raises:
        UserError: packing is asked for, and this model cannot do it; or ``attention`` cannot be used.
    """
    if batches.packing == "off":
        if attention != "auto":
            attend_within_examples(model, device, attention, dtype)
        return False
    within = attend_within_examples(model, device, attention, dtype)
    reason = obstacle(model, examples)
    if reason is not None and attention == "auto" and mask_instead_of_bounds(model):
        within, reason = False, obstacle(model, examples)
    if reason is not None:
        if batches.packing == "on":
            raise UserError(f"Examples cannot be packed: {reason}. Choose --packing off or auto.")
        say(f"padded batches: {reason}")
        return False
    if batches.packing == "on":
        return True
    packed, padded = (
        _operations(model, examples, batches, seed=seed, packed=packed, within=within) for packed in (True, False)
    )
    ratio = packed / padded
    if ratio < 1:
        say(f"packed rows: {1 - ratio:.0%} fewer operations than batches padded to like lengths")
    else:
        say(f"padded batches: packed rows would take {ratio - 1:.0%} more operations")
    return ratio < 1


def _operations(
    model: nn.Module,
    examples: Sequence[EncodedExample],
    batches: BatchOptions,
    *,
    seed: int,
    packed: bool,
    within: bool,
) -> int:
    """The operations of the layers' forward passes over an epoch: 2 for each weight and token, and in attention 4 for
    each pair of tokens and each dimension of a query. Those of the head are the same either way.

    A mask hides pairs but does not save their operations, so a packed row costs the square of its length, except where
    attention is computed within examples.
    """
    decoder, _ = decoder_and_head(model)
    weights = decoder.num_parameters(exclude_embeddings=True)  # type: ignore[operator]
    shape = decoder.config.get_text_config()  # type: ignore[operator, union-attr]
    head_width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    query = shape.num_hidden_layers * shape.num_attention_heads * head_width
    group = pack if packed else micro_batches
    operations = 0
    for step in epoch_batches(examples, batch_size=batches.batch_size, seed=seed):
        for part in group(units(step), tokens=batches.tokens_at_once):
            lengths = [unit.tokens for unit in part]
            as_packed = padded_lengths(lengths) if within else [sum(padded_lengths(lengths))]
            squares = as_packed if packed else len(lengths) * [max(lengths)]
            pairs = sum(length**2 for length in squares)
            operations += 2 * weights * sum(squares) + 4 * query * pairs
    return operations
