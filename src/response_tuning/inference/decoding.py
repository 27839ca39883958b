"""Greedy decoding of a padded batch, which gets narrower as its rows finish.

``generate`` decodes a batch at full width until its last row has finished: where one answer in forty is long, most of
the work is for rows that are done. Here decoding pauses when a quarter of the rows has finished, or reached a limit of
their own. Their keys and values are dropped from the cache and the rest continues: the tokens are the same, but for the
rounding of matmuls of fewer rows.
"""

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from response_tuning.inference.batch import left_padded

__all__ = ["decode"]

_KEPT_FRACTION = 0.75
"""Decoding pauses when at most this fraction of the rows is unfinished. A pause costs about one forward pass."""
_LOOK_EVERY_TOKENS = 16
"""How often an accelerator is asked which rows have finished: it would have to be waited for."""


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    limits: Sequence[int],
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
    **options: Any,
) -> list[list[int]]:
    """Decode every prompt greedily, until a stop token of the model's generation config or its limit.

    Args:
        model: the model, whose stop tokens are set.
        prompts: token ids of each prompt.
        limits: the most new tokens for each prompt.
        is_cancelled: called before each token; once it returns True, the tokens so far are returned.
        options: more arguments of ``generate``, such as ``logits_processor``.

    Returns:
        The new ids of each prompt; what follows a stop token, or the limit, has no meaning.
    """
    ids, mask = (tensor.to(model.device) for tensor in left_padded(prompts))
    rows, cache = list(range(len(prompts))), None
    new: dict[int, list[int]] = {row: [] for row in rows}
    narrows = _can_narrow(model)
    finished = torch.zeros(len(rows), dtype=torch.bool, device=model.device)
    while rows:
        limits_here = torch.tensor([limits[row] - len(new[row]) for row in rows], device=model.device)
        pause = _Pause(model, finished, limits_here, narrows=narrows, is_cancelled=is_cancelled)
        output: Any = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            max_new_tokens=int(limits_here.max()),
            stopping_criteria=[pause],
            return_dict_in_generate=True,
            **options,
        )
        made = output.sequences[:, ids.shape[1] :]
        for row, tokens in zip(rows, made.tolist(), strict=True):
            new[row] += tokens
        finished = pause.finished_with(made)
        if pause.cancelled or bool(finished.all()):
            break
        ids, cache = output.sequences, output.past_key_values
        mask = torch.cat((mask, mask.new_ones(made.shape)), dim=1)
        narrows = narrows and _holds_rows_alone(cache)
        if narrows:
            kept = (~finished).nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            rows = [rows[index] for index in kept.tolist()]
            ids, mask, finished = ids[kept], mask[kept], finished[kept]
    return [new[row] for row in range(len(prompts))]


class _Pause:
    """A stopping criterion of ``generate``: enough rows have finished that it pays to continue without them.

    Args:
        model: the model, whose stop tokens are set.
        finished: [rows] which had finished before.
        limits: [rows] the most tokens that each may still have.
        narrows: whether rows can be dropped; if not, it stops once all have finished.
        is_cancelled: called for each token.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        finished: Tensor,
        limits: Tensor,
        *,
        narrows: bool,
        is_cancelled: Callable[[], bool],
    ) -> None:
        settings: Any = model.generation_config
        stops = settings.eos_token_id
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        self._stops = torch.tensor(stops, dtype=torch.long, device=model.device)
        self._finished = finished
        self._limits = limits
        self._most_unfinished = _KEPT_FRACTION * len(limits) if narrows and len(limits) > 1 else 0
        self._look_every = 1 if model.device.type == "cpu" else _LOOK_EVERY_TOKENS
        self._is_cancelled = is_cancelled
        self._count = 0
        self.cancelled = False
        """Whether decoding was asked to end, for all rows."""

    def __call__(self, ids: Tensor, _scores: Any, **_options: Any) -> Tensor:
        """Whether to pause [rows], the same for all."""
        self._count += 1
        self._finished = self._finished | torch.isin(ids[:, -1], self._stops) | (self._limits <= self._count)
        self.cancelled = self._is_cancelled()
        pauses = self.cancelled
        if not pauses and self._count % self._look_every == 0:
            pauses = int((~self._finished).sum()) <= self._most_unfinished
        return torch.full((len(ids),), pauses, device=ids.device)

    def finished_with(self, made: Tensor) -> Tensor:
        """[rows] which have finished now, with the tokens that were ``made`` [rows, tokens]."""
        return self._finished | torch.isin(made, self._stops).any(dim=1) | (self._limits <= made.shape[1])


def _can_narrow(model: PreTrainedModel) -> bool:
    """Whether a model keeps nothing of a row but keys and values, in a cache that grows.

    State-space layers, static caches and positions that a model remembers for itself are left alone.
    """
    takes_cache = "past_key_values" in signature(model.forward).parameters
    remembers = any(hasattr(module, "rope_deltas") for module in model.modules())
    another = getattr(model.generation_config, "cache_implementation", None)
    if not takes_cache or remembers or another:
        return False
    return _holds_rows_alone(DynamicCache(config=model.config))


def _holds_rows_alone(cache: Any) -> bool:
    """Whether a cache has keys and values by row and position, and nothing else."""
    layers: Any = getattr(cache, "layers", None)
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
