"""Attention over a packed row on a GPU: FlashAttention by the examples' bounds, ``varlen_attn`` of torch itself.

SDPA would take a mask over the whole row, for which it has no flash kernel: memory and time with the square of the row.
The bounds are known when a row is collated, and are passed to the decoder under the names that FlashAttention's own
path in transformers has for them. So no layer reads positions back from the GPU, and a layer that gradient
checkpointing recomputes gets them again.

Without such arguments (padded batches, a step of generation) attention is SDPA's. Anything that ``varlen_attn`` does
not compute, such as a cap of the scores, raises ``NotImplementedError``: a mask is not made for a packed row, so SDPA
would let one example see another. Training tries that out first (``training.batches.packing.obstacle``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from response_tuning.models.heads import decoder_and_head

__all__ = ["VARLEN", "packed_arguments", "register_varlen", "varlen_obstacle"]

VARLEN: Literal["varlen"] = "varlen"
"""The name that this attention has in transformers' registry."""
_LEAST_CAPABILITY = (8, 0)
"""Of a CUDA GPU: FlashAttention 2 needs Ampere."""
_WIDEST_HEAD = 256
_NOT_COMPUTED = ("softcap", "s_aux", "position_bias")
"""Arguments of an attention that scores otherwise: a cap, a sink, a bias."""
_NO_MASK: ContextVar[bool] = ContextVar("no_mask", default=False)


def register_varlen() -> None:
    """Add this attention to transformers' registry."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(VARLEN, _attend)
    AttentionMaskInterface.register(VARLEN, _mask)


def varlen_obstacle(model: nn.Module, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why ``model`` cannot attend by ``varlen_attn`` on ``device`` in ``dtype``, as a clause; None if it can."""
    decoder, _ = decoder_and_head(model)
    shape = decoder.config.get_text_config()  # type: ignore[operator, union-attr]
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    if device.type != "cuda" or torch.version.hip is not None:
        return "it needs a CUDA GPU"
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return "it needs a GPU of compute capability 8.0 or later"
    if dtype not in (torch.bfloat16, torch.float16):
        return "it computes in bfloat16 only"
    if width > _WIDEST_HEAD:
        return f"its heads are at most {_WIDEST_HEAD} wide, and this model's are {width}"
    if getattr(shape, "attention_chunk_size", None):
        return "it does not attend in chunks, as this model does"
    if getattr(shape, "attention_dropout", None):
        return "it has no dropout, and this model's attention has"
    return None


@contextmanager
def packed_arguments(
    decoder: nn.Module, lengths: Sequence[int] | None, device: torch.device
) -> Iterator[dict[str, Any]]:
    """The arguments that tell ``decoder`` where the examples of a packed row begin, for its forward pass.

    None for padded rows (``lengths`` is None), and for an attention that reads the positions instead.
    """
    kind = str(getattr(decoder.config, "_attn_implementation", None))
    if lengths is None or not (kind == VARLEN or "flash" in kind):
        yield {}
        return
    bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    if device.type == "cuda":
        bounds = bounds.pin_memory().to(device, non_blocking=True)
    token = _NO_MASK.set(kind == VARLEN)
    try:
        yield {
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
    finally:
        _NO_MASK.reset(token)


def _mask(*arguments: Any, **options: Any) -> Tensor | None:
    """SDPA's mask; none for a packed row, whose bounds say what is visible."""
    from transformers.masking_utils import sdpa_mask

    return None if _NO_MASK.get() else sdpa_mask(*arguments, **options)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of [1, heads, length, width] within the bounds of each example: [1, length, heads, width]."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    bounds = options.get("cu_seq_lens_q")
    if bounds is None:
        if _NO_MASK.get():
            raise NotImplementedError("this model does not pass the bounds of examples on to its attention")
        result, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return result, None
    window = _window(module, query, value, options)
    queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    scale = options.get("scaling") or query.shape[3] ** -0.5
    longest = options["max_length_q"]
    return _attend_by_bounds(queries, keys, values, bounds, longest, scale=scale, window=window)[None], None


def _window(module: nn.Module, query: Tensor, value: Tensor, options: dict[str, Any]) -> int | None:
    """How many tokens a token sees, itself included; None for all before it.

    Raises:
        NotImplementedError: ``varlen_attn`` does not compute this attention.
    """
    other = [name for name in _NOT_COMPUTED if options.get(name) is not None]
    if options.get("dropout"):
        other.append("dropout")
    if value.shape[3] != query.shape[3]:
        other.append("values of another width than keys")
    if "sliding_window" not in options and getattr(getattr(module, "config", None), "sliding_window", None):
        other.append("a sliding window that it does not pass on")
    if other:
        raise NotImplementedError(f"the attention of this model has {' and '.join(other)}")
    window: int | None = options.get("sliding_window")
    return window


def _attend_by_bounds(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, *, scale: float, window: int | None
) -> Tensor:
    """Causal attention of [tokens, heads, width] within bounds [examples + 1]: [tokens, heads, width].

    In fp32, and on the CPU, example by example, for trying a model out and for tests.
    """
    if not _has_kernel(query):
        return _attend_one_by_one(query, key, value, bounds, scale=scale, window=window)
    from torch.nn.attention.varlen import varlen_attn

    left = -1 if window is None else window - 1
    output = varlen_attn(
        query,
        key,
        value,
        bounds,
        bounds,
        longest,
        longest,
        scale=scale,
        window_size=(left, 0),
        enable_gqa=key.shape[1] != query.shape[1],
    )
    assert isinstance(output, Tensor)
    return output


def _has_kernel(query: Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)


def _attend_one_by_one(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, *, scale: float, window: int | None
) -> Tensor:
    ends = bounds.tolist()
    attended = []
    for start, end in pairwise(ends):
        queries, keys, values = (tensor[start:end].transpose(0, 1)[None] for tensor in (query, key, value))
        place = torch.arange(end - start, device=query.device)
        distance = place[:, None] - place
        visible = (distance >= 0) & (distance < (window or end))
        output = scaled_dot_product_attention(queries, keys, values, attn_mask=visible, scale=scale, enable_gqa=True)
        attended.append(output[0].transpose(0, 1))
    return torch.cat(attended)
