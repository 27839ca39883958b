"""Keys and values of a prefix that many prompts share, computed once (key-value cache reuse).

A batch of prompts is padded on the left, so a row that is shorter than the longest one begins later. Keys are encoded
by their position in the row and not by their column: the cached prefix is copied into each row where that row begins.
Every row then needs the same number of cached columns: the end of the prefix is computed again in the columns that
would be padding otherwise, at no cost. The result is a plain left-padded batch whose first columns need no computing,
in every layer: sliding windows see no gap, since no padding stands inside a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.cache_utils import DynamicCache

__all__ = ["PrefixCache", "common_prefix"]

_WORTHWHILE_TOKENS = 32
"""Shorter prefixes are computed with each prompt."""
_CLOSE_FP32, _CLOSE = 1e-3, 0.1
"""How far, relative to the logits, those of a few tokens may move when their prefix is cached."""


def common_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The ids that all sequences begin with."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*sequences, strict=False))
    return [column[0] for column in alike]


@dataclass(frozen=True)
class PrefixCache:
    """The prefix ``ids`` of prompts to ``model``, with its keys and values once they are needed."""

    model: "PreTrainedModel"
    ids: list[int]

    def is_worth(self, columns: int) -> bool:
        """Whether this many tokens of the prefix are worth caching, and the model can: that is tried out once."""
        return columns >= _WORTHWHILE_TOKENS and _has_plain_cache(self.model) and self._agrees

    def columns(self, prompts: Sequence[list[int]]) -> int:
        """How many columns of the left-padded ``prompts`` the prefix covers in every row; 0 if it is not worthwhile."""
        longest = max(map(len, prompts))
        covered = min(len(common_prefix([self.ids, prompt])) + longest - len(prompt) for prompt in prompts)
        covered = min(covered, longest - 1)  # the last token has to be computed
        return covered if self.is_worth(covered) else 0

    def of_batch(self, prompts: Sequence[list[int]]) -> "DynamicCache | None":
        """A new cache of ``columns(prompts)`` columns for left-padded prompts; None where there are none."""
        columns = self.columns(prompts)
        return self._placed_in(prompts, columns) if columns else None

    def _placed_in(self, prompts: Sequence[list[int]], columns: int) -> "DynamicCache":
        from transformers.cache_utils import DynamicCache

        longest = max(map(len, prompts))
        cache = DynamicCache(config=self.model.config)
        for layer, (keys, values) in self._layers.items():
            cache.update(
                _placed(keys, [longest - len(prompt) for prompt in prompts], columns),
                _placed(values, [longest - len(prompt) for prompt in prompts], columns),
                layer,
            )
        return cache

    def first(self, columns: int) -> "DynamicCache":
        """A new cache of the first ``columns`` tokens, for one row. It keeps them whole in sliding windows too."""
        from transformers.cache_utils import DynamicCache

        cache = DynamicCache()
        for layer, (keys, values) in self._layers.items():
            cache.update(keys[:, :, :columns], values[:, :, :columns], layer)
        return cache

    @cached_property
    @torch.inference_mode()
    def _agrees(self) -> bool:
        """Whether a model computes two short rows with cached columns as it does without.

        Some keep another state than their configuration tells, in a cache that they make themselves.
        """
        ids = [*self.ids, *self.ids][: _WORTHWHILE_TOKENS + 4]
        rows = [ids, ids[:-2]]
        input_ids = torch.tensor([ids, [*ids[:2], *ids[:-2]]], device=self.model.device)
        mask = torch.ones_like(input_ids)
        mask[1, :2] = 0
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        short = PrefixCache(self.model, ids[:_WORTHWHILE_TOKENS])
        options = {"logits_to_keep": 1, "attention_mask": mask}
        try:
            cache = short._placed_in(rows, _WORTHWHILE_TOKENS)
            rest = slice(_WORTHWHILE_TOKENS, None)
            cached = self.model(
                input_ids=input_ids[:, rest], position_ids=positions[:, rest], past_key_values=cache, **options
            )
        except Exception:  # models raise many kinds for a cache that is not theirs
            return False
        alone = self.model(input_ids=input_ids, position_ids=positions, use_cache=False, **options)
        difference = (cached.logits[:, -1] - alone.logits[:, -1]).float().norm()
        close = _CLOSE_FP32 if alone.logits.dtype == torch.float32 else _CLOSE
        return bool(difference <= close * alone.logits[:, -1].float().norm())

    @cached_property
    @torch.inference_mode()
    def _layers(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Keys and values [1, heads, tokens, width] of the prefix, by layer: all of them, in sliding windows too."""
        from transformers.cache_utils import DynamicCache, DynamicLayer

        cache = DynamicCache()  # without a configuration no layer drops what is outside of its window
        ids = torch.tensor([self.ids], device=self.model.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return {
            index: (layer.keys, layer.values)
            for index, layer in enumerate(cache.layers)
            if isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
        }


def _placed(states: Tensor, starts: Sequence[int], columns: int) -> Tensor:
    """``states`` [1, heads, tokens, width] in rows that begin at ``starts``: [rows, heads, columns, width]."""
    placed = states.new_zeros((len(starts), states.shape[1], columns, states.shape[3]))
    for row, start in enumerate(starts):
        if start < columns:
            placed[row, :, start:] = states[0, :, : columns - start]
    return placed


def _has_plain_cache(model: "PreTrainedModel") -> bool:
    """Whether every layer caches keys and values, whole or in a sliding window: no recurrent state, no chunks."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    layers = DynamicCache(config=model.config).layers
    return not kinds & {"chunked_attention"} and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )
