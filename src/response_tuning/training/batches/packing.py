"""Packing: several examples in one row without padding, where none sees another.

A padded batch computes as many tokens for its shortest row as for its longest. A packed row holds whole examples, one
behind the other, and no more padding than makes its length a round number. Two things keep them apart, so that loss
and gradients are those of padded rows:

- positions restart at 0 with every example, for the position embeddings;
- attention is block-diagonal. Given such positions *and no attention mask*, transformers makes a mask like this one of
  three examples for SDPA, eager and FlexAttention, sliding windows included, and hands FlashAttention the examples'
  bounds (the latter for a batch of a single row alone, which is why a packed batch always is one row):

      positions   0 1 2 0 1 0 1 2

                  x . . . . . . .
                  x x . . . . . .
                  x x x . . . . .
                  . . . x . . . .
                  . . . x x . . .
                  . . . . . x . .
                  . . . . . x x .
                  . . . . . x x x

A model that goes its own way would leak in silence, so ``obstacle`` tries it out before training begins.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import signature

import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.kernels.packed_attention import attend_within_examples
from response_tuning.models.load import decoder_and_head
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import (
    AnyPiece,
    Batch,
    Piece,
    collate,
    epoch_batches,
    filling,
    members,
    micro_batches,
)
from response_tuning.training.objectives.sftmix.mixtures import mixtures_of
from response_tuning.training.training_config import TrainingConfig

__all__ = [
    "collate_packed",
    "filled_up",
    "lay_out",
    "obstacle",
    "pack",
    "restarting_positions",
    "settle_packing",
]

_PROBE_EXAMPLES = 3
_PROBE_TOKENS = 24
"""How much of how many examples ``obstacle`` looks at."""
_MOST_MOVED_FP32 = 1e-4
_MOST_MOVED = 0.2
"""How far, relative to their norm, hidden states may move. With Gemma 3 270M rounding moves them by 1e-6 in fp32 and
0.06 in bf16, a leak by 1."""


def pack(examples: Sequence[AnyPiece], *, tokens: int) -> list[list[AnyPiece]]:
    """Put examples into bins of at most ``tokens`` tokens each (or one example, if that alone is longer).

    Best-fit decreasing: from the longest on, each example goes into the fullest bin that has room for it. It never
    takes more than 11/9 of the fewest possible bins and one more (Johnson 1973). Equal lengths keep their order.
    """
    bins: list[list[AnyPiece]] = []
    rooms: list[tuple[int, int]] = []  # what is left in each bin, and its index, in increasing order
    for example in sorted(examples, key=lambda example: -len(example.input_ids)):
        length = len(example.input_ids)
        best = bisect_left(rooms, (length, 0))
        if best < len(rooms):
            room, index = rooms.pop(best)
        else:
            room, index = max(tokens, length), len(bins)
            bins.append([])
        bins[index].append(example)
        insort(rooms, (room - length, index))
    return bins


def collate_packed(examples: Sequence[EncodedExample]) -> Batch:
    """Lay examples out in one row, one behind the other; what fills the row up stands behind, as one more of them."""
    lengths = torch.tensor([len(example.input_ids) for example in examples])
    stand_in_row = filled_up(lengths.tolist())
    supervised = torch.tensor([example.supervised_count for example in examples])
    prompts = lengths - supervised
    input_ids = torch.tensor([token for example in examples for token in example.input_ids])
    all_positions = restarting_positions(stand_in_row)
    positions = all_positions[0, : len(input_ids)]
    # Never the last position of an example: it would predict the first token of the next one.
    predicting = ((positions >= (prompts - 1).repeat_interleave(lengths)) & ~_is_last(positions)).nonzero().squeeze(1)
    rows = torch.arange(len(examples)).repeat_interleave(supervised)
    targets = input_ids[predicting + 1]
    row = nn.functional.pad(input_ids, (0, all_positions.numel() - len(input_ids)))
    return Batch(row[None, :], predicting, targets, rows, all_positions)


def filled_up(lengths: Sequence[int]) -> list[int]:
    """The lengths of what stands in a packed row: its examples, and what fills it up, if anything does."""
    filled = filling(sum(lengths))
    return [*lengths, filled] if filled else list(lengths)


def restarting_positions(lengths: Sequence[int]) -> Tensor:
    """The positions [1, tokens] of a packed row of examples of such ``lengths``: from 0 in every one."""
    return torch.cat([torch.arange(length) for length in lengths])[None, :]


def _is_last(positions: Tensor) -> Tensor:
    """Whether each token [length] is the last of its example."""
    return torch.cat((positions[1:], positions.new_zeros(1))) == 0


def lay_out(examples: Sequence[Piece], *, tokens: int, packed: bool) -> Iterator[Batch]:
    """The micro-batches of a step: packed rows, or padded ones, of at most ``tokens`` tokens each."""
    for part in pack(examples, tokens=tokens) if packed else micro_batches(examples, tokens=tokens):
        batch = collate_packed(members(part)) if packed else collate(members(part))
        yield replace(batch, mixtures=mixtures_of(part))


@torch.no_grad()
def obstacle(model: nn.Module, examples: Sequence[EncodedExample]) -> str | None:
    """Why ``model`` would not treat examples in a packed row as it treats them alone; None if it does.

    It is tried out on the beginnings of a few examples, in evaluation mode: the hidden states of the others must stay
    where they are when the first one changes, and must be those of each alone.
    """
    decoder, head = decoder_and_head(model)
    name = type(decoder).__name__
    if "position_ids" not in signature(decoder.forward).parameters:
        return f"{name} takes no positions, which would tell it where an example begins"
    few = (list(examples[:_PROBE_EXAMPLES]) * _PROBE_EXAMPLES)[:_PROBE_EXAMPLES]
    beginnings = [torch.tensor(example.input_ids[:_PROBE_TOKENS]) for example in few]
    altered = [(beginnings[0] + 1) % len(head.weight), *beginnings[1:]]
    together, after_change = _hidden_states(decoder, beginnings), _hidden_states(decoder, altered)
    alone = torch.cat([_hidden_states(decoder, [beginning]) for beginning in beginnings])
    most = _MOST_MOVED_FP32 if together.dtype == torch.float32 else _MOST_MOVED
    first = len(beginnings[0])
    if not _moved(together[first:], after_change[first:]) <= most:
        return f"{name} lets one example of a packed row see another"
    if not _moved(alone, together) <= most:
        return f"{name} computes an example of a packed row otherwise than alone"
    return None


def _hidden_states(decoder: nn.Module, examples: Sequence[Tensor]) -> Tensor:
    """Final hidden states [tokens, hidden] of the examples in one packed row."""
    device = next(decoder.parameters()).device
    positions = restarting_positions([len(example) for example in examples]).to(device)
    input_ids = torch.cat(list(examples)).to(device)
    hidden: Tensor = decoder(input_ids=input_ids[None, :], position_ids=positions, use_cache=False).last_hidden_state
    return hidden[0]


def _moved(before: Tensor, after: Tensor) -> float:
    """The largest distance that a token's hidden state moved, relative to its norm."""
    return float(((after.float() - before.float()).norm(dim=1) / before.float().norm(dim=1)).max())


def settle_packing(
    model: nn.Module, examples: Sequence[EncodedExample], config: TrainingConfig, device: torch.device | None = None
) -> TrainingConfig:
    """Decide whether to pack, and say why; returns ``config`` with ``packing`` on or off.

    What decides between packed rows and padded ones of like length is a count of the operations of an epoch, and not
    a stopwatch: the same configuration, data and model then always give the same bits.

    Args:
        model: The model.
        examples: What it is trained on.
        config: The training.
        device: Where the model will compute; None for where it is.

    Raises:
        UserError: packing is asked for, and this model cannot do it.
    """
    if config.batches.packing == "off":
        return config
    within = attend_within_examples(model, device)
    reason = obstacle(model, examples)
    if reason is not None:
        if config.batches.packing == "on":
            raise UserError(f"Examples cannot be packed: {reason}. Choose --packing off or auto.")
        say(f"padded batches: {reason}")
        return changed(config, packing="off")
    if config.batches.packing == "on":
        return config
    packed, padded = (_operations(model, examples, config, packed=packed, within=within) for packed in (True, False))
    share = packed / padded
    if share < 1:
        say(f"packed rows: {1 - share:.0%} fewer operations than batches padded to like lengths")
    else:
        say(f"padded batches: packed rows would take {share - 1:.0%} more operations")
    return changed(config, packing="on" if share < 1 else "off")


def _operations(
    model: nn.Module, examples: Sequence[EncodedExample], config: TrainingConfig, *, packed: bool, within: bool
) -> int:
    """The operations of the layers' forward passes over an epoch: 2 for each weight and token, and in attention 4 for
    each pair of tokens and each number of a query. The head's are the same either way.

    A mask hides pairs but does not spare their products, so a packed row costs the square of its length, except where
    attention is computed within examples.
    """
    decoder, _ = decoder_and_head(model)
    weights = decoder.num_parameters(exclude_embeddings=True)  # type: ignore[operator]
    shape = decoder.config.get_text_config()  # type: ignore[operator, union-attr]
    head_width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    query = shape.num_hidden_layers * shape.num_attention_heads * head_width
    group = pack if packed else micro_batches
    operations = 0
    for step in epoch_batches(examples, batch_size=config.batches.batch_size, seed=config.seed):
        for part in group(step, tokens=config.batches.micro_batch_tokens):
            lengths = [len(example.input_ids) for example in part]
            as_packed = filled_up(lengths) if within else [sum(filled_up(lengths))]
            squares = as_packed if packed else len(lengths) * [max(lengths)]
            pairs = sum(length**2 for length in squares)
            operations += 2 * weights * sum(squares) + 4 * query * pairs
    return operations
