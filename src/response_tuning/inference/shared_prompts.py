"""Examples that share a prompt, as rows in which the prompt is computed once."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate, padding_to_round
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels.shared_prompts import Segment, attending_to_segments, can_attend_to_segments, window_of

__all__ = ["SharedRow", "losses_of_row", "shared_rows"]

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


def losses_of_row(model: nn.Module, loss_of: ResponseLoss, row: SharedRow) -> Tensor:
    """The loss [supervised tokens] of each supervised token, as ``loss_of`` of a plain batch."""
    batch = row.batch.to(next(model.parameters()).device)
    with attending_to_segments(model, row.segments, batch.input_ids.shape[1]):
        return loss_of(batch)


def _families(encoded: Sequence[EncodedExample], *, longest: float) -> list[list[int]]:
    """The indices of examples with the same prompt, where sharing it is possible and pays; longest examples first."""
    by_prompt: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, example in enumerate(encoded):
        if example.supervised_count and len(example.input_ids) <= longest:
            by_prompt[tuple(example.input_ids[: example.prompt_length])].append(index)
    return [
        family
        for prompt, family in by_prompt.items()
        if (len(family) - 1) * len(prompt) >= _WORTHWHILE * sum(len(encoded[index].input_ids) for index in family)
    ]


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


def _row(families: Sequence[Sequence[tuple[int, EncodedExample]]]) -> SharedRow:
    """One row. The last token of a response predicts nothing, so it is left out."""
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
        torch.tensor([positions]),
    )
    return SharedRow(batch, segments, [index for index, _ in members])


def _agrees(model: nn.Module, pair: Sequence[EncodedExample]) -> bool:
    """Whether the beginnings of two examples have the same losses with their prompt shared as without."""
    short = []
    for example in pair:
        start = max(0, example.prompt_length - _PROBE_TOKENS)
        ids = example.input_ids[start : example.prompt_length + _PROBE_TOKENS]
        short.append(EncodedExample(ids, example.prompt_length - start))
    loss_of = ResponseLoss(model)
    device = next(model.parameters()).device
    alone = torch.cat([loss_of(collate([example]).to(device)) for example in short])
    shared = losses_of_row(model, loss_of, _row([list(enumerate(short))]))
    close = _CLOSE_FP32 if next(model.parameters()).dtype == torch.float32 else _CLOSE
    return bool((shared - alone).norm() <= close * alone.norm())
