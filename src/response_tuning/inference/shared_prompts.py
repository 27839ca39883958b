"""Examples that share a prompt, as rows in which the prompt is computed once; after a prefix that all of them share."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate, padding_to_round
from response_tuning.inference.prefix_cache import PrefixCache, common_prefix
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels.shared_prompts import Segment, attending_to_segments, can_attend_to_segments, window_of

__all__ = ["SharedRow", "losses_of_row", "rows_after_prefix", "shared_rows"]

_WORTHWHILE = 1 / 8
"""Prompts are shared if that saves at least this fraction of the tokens."""
_PROBE_TOKENS = 12
_CLOSE_FP32, _CLOSE = 1e-3, 0.1
"""How far, relative to the loss, the losses of the first few tokens may move when their prompt is shared."""


@dataclass(frozen=True)
class SharedRow:
    """One row of prompts and responses, and the examples it holds."""

    batch: Batch
    segments: list[Segment]
    indices: list[int]
    """Of the examples, in the order of ``batch.rows``."""
    cached: int = 0
    """Tokens before the row: the first ones of the prefix that all examples share."""


def shared_rows(
    model: nn.Module, encoded: Sequence[EncodedExample], *, tokens: int
) -> tuple[list[SharedRow], list[int]]:
    """Rows of at most ``tokens`` tokens for examples whose prompts are worth sharing, and the indices of the others.

    None is shared where the model cannot do so: that is tried out on the beginnings of two examples.
    """
    families = _families(encoded, longest=window_of(model)) if can_attend_to_segments(model) else []
    if not families or not _agrees(model, [encoded[index] for index in families[0][:2]]):
        return [], list(range(len(encoded)))
    rows = [
        _row([[(index, encoded[index]) for index in family] for family in group])
        for group in _grouped(families, encoded, tokens=tokens)
    ]
    shared = {index for row in rows for index in row.indices}
    return rows, [index for index in range(len(encoded)) if index not in shared]


def rows_after_prefix(prefix: PrefixCache, encoded: Sequence[EncodedExample], *, tokens: int) -> list[SharedRow] | None:
    """Rows of at most ``tokens`` tokens for all examples, without the prefix that they share.

    None where that does not pay, or where the model cannot do so: that is tried out on the first examples.
    """
    columns = min((_covered(prefix, example) for example in encoded), default=0)
    can = prefix.is_worth(columns) and can_attend_to_segments(prefix.model)
    if not can or not all(example.supervised_count for example in encoded):
        return None
    short = [EncodedExample(example.input_ids[columns:], example.prompt_length - columns) for example in encoded]

    def row(families: Sequence[Sequence[int]]) -> SharedRow:
        members = [[(index, short[index]) for index in family] for family in families]
        return replace(_row(members, position=columns), cached=columns)

    # Two examples show whether segments are kept apart, a whole one whether the prefix and windows are right.
    if not _agrees(prefix.model, short[:2]) or not _agrees_after(prefix, row([[0]]), encoded[0]):
        return None
    return [row(group) for group in _grouped(list(_by_prompt(short).values()), short, tokens=tokens)]


def _agrees_after(prefix: PrefixCache, row: SharedRow, example: EncodedExample) -> bool:
    """Whether a row of one example has the losses that the example has with its prefix."""
    loss_of = ResponseLoss(prefix.model)
    alone = loss_of(collate([example]).to(next(prefix.model.parameters()).device))
    return _is_close(prefix.model, losses_of_row(prefix.model, loss_of, row, prefix), alone)


def _covered(prefix: PrefixCache, example: EncodedExample) -> int:
    """How many tokens of an example's prompt the prefix covers; the last one has to be computed."""
    return min(len(common_prefix([prefix.ids, example.input_ids])), example.prompt_length - 1)


def losses_of_row(model: nn.Module, loss_of: ResponseLoss, row: SharedRow, prefix: PrefixCache | None = None) -> Tensor:
    """The loss [supervised tokens] of each supervised token, as ``loss_of`` of a plain batch."""
    batch = row.batch.to(next(model.parameters()).device)
    cache = None if prefix is None else prefix.first(row.cached)
    with attending_to_segments(model, row.segments, batch.input_ids.shape[1], cached=row.cached):
        return loss_of.cross_entropy(loss_of.hidden_states(batch, cache), batch.targets)


def _families(encoded: Sequence[EncodedExample], *, longest: float) -> list[list[int]]:
    """The indices of examples with the same prompt, where sharing it is possible and pays; longest examples first."""
    fitting = [index for index, example in enumerate(encoded) if len(example.input_ids) <= longest]
    return [
        family
        for prompt, family in _by_prompt(encoded, fitting).items()
        if (len(family) - 1) * len(prompt) >= _WORTHWHILE * sum(len(encoded[index].input_ids) for index in family)
    ]


def _by_prompt(
    encoded: Sequence[EncodedExample], indices: Sequence[int] | None = None
) -> dict[tuple[int, ...], list[int]]:
    """The indices of examples that have something to predict, by their prompts."""
    by_prompt: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index in range(len(encoded)) if indices is None else indices:
        if encoded[index].supervised_count:
            by_prompt[tuple(encoded[index].input_ids[: encoded[index].prompt_length])].append(index)
    return by_prompt


def _grouped(
    families: Sequence[list[int]], encoded: Sequence[EncodedExample], *, tokens: int
) -> Iterator[list[list[int]]]:
    """Families in groups of at most ``tokens`` tokens; one that has more is split, and its prompt repeated."""
    group: list[list[int]] = []
    free = tokens
    for family in families:
        prompt = encoded[family[0]].prompt_length
        part: list[int] = []
        for index in family:
            response = encoded[index].supervised_count - 1
            needed = response if part else prompt + response
            if needed > free and (group or part):
                yield [*group, part] if part else group
                group, part, free = [], [], tokens
                needed = prompt + response
            part.append(index)
            free -= needed
        group = [*group, part]
    if group:
        yield group


def _row(families: Sequence[Sequence[tuple[int, EncodedExample]]], *, position: int = 0) -> SharedRow:
    """One row, whose prompts begin at ``position``. The last token of a response predicts nothing: it is left out."""
    ids: list[int] = []
    positions: list[int] = []
    predicting: list[int] = []
    segments: list[Segment] = []
    for family in families:
        prompt = family[0][1].input_ids[: family[0][1].prompt_length]
        before = Segment(len(ids), len(prompt))
        ids += prompt
        positions += range(len(prompt))
        segments.append(before)
        for _, example in family:
            response = example.input_ids[len(prompt) : -1]
            predicting += [before.start + len(prompt) - 1, *range(len(ids), len(ids) + len(response))]
            if response:
                segments.append(Segment(len(ids), len(response), before.start, len(prompt)))
            positions += range(len(prompt), len(prompt) + len(response))
            ids += response
    if padding := padding_to_round(len(ids)):
        segments.append(Segment(len(ids), padding))
        positions += range(padding)
        ids += [0] * padding
    members = [member for family in families for member in family]
    counts = torch.tensor([example.supervised_count for _, example in members])
    targets = [token for _, example in members for token in example.input_ids[example.prompt_length :]]
    batch = Batch(
        torch.tensor([ids]),
        torch.tensor(predicting),
        torch.tensor(targets),
        torch.arange(len(members)).repeat_interleave(counts),
        torch.tensor([positions]) + position,
    )
    return SharedRow(batch, segments, [index for index, _ in members])


def _agrees(model: nn.Module, pair: Sequence[EncodedExample]) -> bool:
    """Whether the beginnings of two examples have the same losses in one row, a common prompt shared, as alone."""
    short = []
    for example in pair:
        start = max(0, example.prompt_length - _PROBE_TOKENS)
        ids = example.input_ids[start : example.prompt_length + _PROBE_TOKENS]
        short.append(EncodedExample(ids, example.prompt_length - start))
    loss_of = ResponseLoss(model)
    device = next(model.parameters()).device
    alone = torch.cat([loss_of(collate([example]).to(device)) for example in short])
    row = _row([[(index, short[index]) for index in family] for family in _by_prompt(short).values()])
    return _is_close(model, losses_of_row(model, loss_of, row), alone)


def _is_close(model: nn.Module, shared: Tensor, alone: Tensor) -> bool:
    close = _CLOSE_FP32 if next(model.parameters()).dtype == torch.float32 else _CLOSE
    return bool((shared - alone).norm() <= close * alone.norm())
