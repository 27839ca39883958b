"""Attention over a row in which several responses share one prompt: each sees the prompt and itself, and no other.

A row holds prompts and responses one after the other. Keys and values of a prompt are computed once and read by each of
its responses, as a cache of keys and values would be (the tree attention of speculative decoding, Miao et al. 2023,
arXiv 2305.09781, section 4.2). A prefix that all prompts share may be in a cache of keys and values already: it is seen
by every segment. Segments of similar length are attended to at once, as padded batches.

Without gradients. A row's positions have to continue those of its prompt. A sliding window is applied where the
model's attention names it (``sliding_window`` among its options, as transformers' models do).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from response_tuning.models.heads import decoder_and_head

__all__ = ["Segment", "attending_to_segments", "can_attend_to_segments", "window_of"]

_NAME = "shared_prompts"
"""The name that our attention has in transformers' registry."""
_ALIKE = 0.75
"""No segment of a group is shorter than this fraction of the longest."""


@dataclass(frozen=True)
class Segment:
    """Neighbouring tokens of a row, which see themselves causally, and a prefix elsewhere in the row."""

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0


@dataclass(frozen=True)
class _Group:
    """Segments of similar length, padded."""

    queries: Tensor
    """[segments * longest] indices into the row"""
    keys: Tensor
    """[segments * (longest prefix + longest)] indices into the row"""
    visible: Tensor
    """[segments, 1, longest, longest prefix + longest] whether a token sees another"""


@dataclass(frozen=True)
class _Layout:
    groups: tuple[_Group, ...]
    places: Tensor
    """[length] where the groups' outputs, one after the other, have each token of the row"""


@dataclass(frozen=True)
class _Row:
    """A row that is being computed."""

    segments: Sequence[Segment]
    length: int
    cached: int
    """Tokens before the row, which are in the model's cache and which every segment sees."""
    device: torch.device
    layouts: dict[int | None, _Layout]
    """By sliding window [tokens]; None for layers without one."""

    def layout(self, window: int | None) -> _Layout:
        """How the row is attended to in layers with this window."""
        if window not in self.layouts:
            self.layouts[window] = _layout(self, window)
        return self.layouts[window]


_ROW: ContextVar[_Row] = ContextVar("row")


def can_attend_to_segments(model: nn.Module) -> bool:
    """Whether the model's attention can be replaced: it takes positions, and computes attention by SDPA."""
    decoder, _ = decoder_and_head(model)
    return str(getattr(decoder.config, "_attn_implementation", None)) in ("sdpa", "within_examples")


def window_of(model: nn.Module) -> float:
    """The most tokens that a token of ``model`` sees in every layer; infinite without windows or chunks."""
    config = decoder_and_head(model)[0].config
    sizes = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    return min((size for size in sizes if size), default=float("inf"))


@contextmanager
def attending_to_segments(
    model: nn.Module, segments: Sequence[Segment], length: int, *, cached: int = 0
) -> Iterator[None]:
    """Within this context ``model`` computes one row of ``length`` tokens that consists of ``segments``.

    Args:
        model: a causal language model.
        segments: the row's, which cover it.
        length: tokens of the row.
        cached: tokens before the row, whose keys and values are in the cache that the model is given.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    decoder, _ = decoder_and_head(model)
    before = decoder.config._attn_implementation  # type: ignore[union-attr]
    AttentionInterface.register(_NAME, _attend_to_segments)
    AttentionMaskInterface.register(_NAME, _no_mask)
    token = _ROW.set(_Row(segments, length, cached, next(decoder.parameters()).device, {}))
    decoder.set_attn_implementation(_NAME)  # type: ignore[operator]
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)  # type: ignore[operator]
        _ROW.reset(token)


def _no_mask(*_arguments: Any, **_options: Any) -> None:
    """The segments say what is visible; a mask over the whole row would only take memory."""


def _attend_to_segments(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, _attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of [1, heads, length, width] within segments and to what precedes them: [1, length, heads, width].

    Keys and values [1, heads, cached + length, width] begin with those of the cache.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    layout = _ROW.get().layout(options.get("sliding_window"))
    queries, keys, values = (tensor[0].transpose(0, 1).flatten(1) for tensor in (query, key, value))
    options = {name: value for name, value in options.items() if name not in ("position_ids", "is_causal")}
    attended = []
    for group in layout.groups:
        segments = len(group.visible)
        own_queries, own_keys, own_values = (
            rows.index_select(0, indices).view(segments, -1, tensor.shape[1], tensor.shape[3]).transpose(1, 2)
            for rows, indices, tensor in (
                (queries, group.queries, query),
                (keys, group.keys, key),
                (values, group.keys, value),
            )
        )
        output, _ = sdpa_attention_forward(module, own_queries, own_keys, own_values, group.visible, **options)
        attended.append(output.flatten(0, 1))
    return torch.cat(attended).index_select(0, layout.places)[None], None


def _layout(row: _Row, window: int | None) -> _Layout:
    device, groups, tokens, real = row.device, [], [], []
    for members in _alike(row.segments):
        group, is_real = _group(members, cached=row.cached, window=window)
        groups.append(_Group(group.queries.to(device), group.keys.to(device), group.visible.to(device)))
        tokens.append(group.queries)
        real.append(is_real)
    is_token = torch.cat(real)
    places = torch.zeros(row.length, dtype=torch.long)
    places[torch.cat(tokens)[is_token]] = is_token.nonzero().squeeze(1)
    return _Layout(tuple(groups), places.to(device))


def _group(segments: Sequence[Segment], *, cached: int, window: int | None) -> tuple[_Group, Tensor]:
    """One group, and which of its queries [segments * longest] are tokens and not padding."""
    starts, lengths, prefix_starts, prefixes = (
        torch.tensor([getattr(segment, name) for segment in segments])[:, None]
        for name in ("start", "length", "prefix_start", "prefix_length")
    )
    own, prefix = torch.arange(int(lengths.max())), torch.arange(int(prefixes.max()))
    # Padding repeats a segment's first token: it sees something, so its softmax stays finite, and is not used.
    queries = torch.where(own < lengths, starts + own, starts)
    before = torch.where(prefix < prefixes, prefix_starts + prefix, prefix_starts)
    causal = (own[:, None] >= own).expand(len(segments), -1, -1) & (own < lengths)[:, None]
    seen = (prefix < prefixes)[:, None].expand(-1, len(own), -1)
    # Of the cache, what the window still shows to the first token.
    kept = torch.arange(cached - min(cached, cached if window is None else window - 1), cached)
    in_cache = torch.ones(len(segments), len(own), len(kept), dtype=torch.bool)
    visible = torch.cat((in_cache, seen, causal), dim=2)
    if window is not None:
        place = cached + prefixes + own  # of a segment's tokens, from the beginning of the cache
        places = torch.cat((kept.expand(len(segments), -1), (cached + prefix).expand(len(segments), -1), place), dim=1)
        visible = visible & (place[:, :, None] - places[:, None] < window)
    keys = torch.cat((kept.expand(len(segments), -1), cached + before, cached + queries), dim=1)
    return _Group(queries.flatten(), keys.flatten(), visible[:, None]), (own < lengths).flatten()


def _alike(segments: Sequence[Segment]) -> list[list[Segment]]:
    """The segments in groups of similar length, the longest first; prompts, which have no prefix, by themselves."""
    groups: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda segment: (segment.prefix_length == 0, -segment.length)):
        first = groups[-1][0] if groups else None
        same_kind = first is not None and (first.prefix_length == 0) == (segment.prefix_length == 0)
        if first is not None and same_kind and segment.length >= _ALIKE * first.length:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups
