"""Attention over a packed row on the CPU: within each example, several short ones at once, and never between them.

With a mask over the whole row SDPA would multiply every example with every other and discard the result: time that
grows with the square of the row's length. Given a batch, its CPU kernel spends most of the time of short examples in
its backward pass, so those are computed by plain matmuls (docs/log.md).

For that the tokens of a row are reordered into padded batches of examples of similar length, one after the other. The
order is computed once for each mask, and serves every layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from response_tuning.kernels.varlen_attention import VARLEN, register_varlen, varlen_obstacle
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.support.options import Attention

__all__ = ["attend_within_examples", "attention_of", "mask_instead_of_bounds", "use_attention_of"]

_WITHIN_EXAMPLES = "within_examples"
"""The name that our attention has in transformers' registry."""
_SHORT_TOKENS = 512
"""Up to this length attention by plain matmuls was measured to be faster on a CPU (docs/log.md)."""


def attend_within_examples(
    model: nn.Module,
    device: torch.device | None = None,
    attention: Attention = "auto",
    dtype: torch.dtype = torch.bfloat16,
) -> bool:
    """Let a model attend within the examples of a packed row, and not over the whole row with a mask.

    Its padded batches are computed as before. "auto" changes a model that uses SDPA: on the CPU to the matmuls of this
    module, on a CUDA GPU to ``kernels.varlen_attention`` where that can be; with eager attention the mask stays.

    Args:
        model: The model.
        device: Where it will compute; None for where it is.
        attention: What is asked for.
        dtype: Of its matmuls.

    Returns:
        Whether attention is now computed within examples; FlashAttention and FlexAttention do so by themselves.

    Raises:
        UserError: what is asked for cannot be.
    """
    decoder, _ = decoder_and_head(model)
    place = device or next(decoder.parameters()).device
    if attention != "auto":
        _set_attention(decoder, attention, varlen_obstacle(model, place, dtype) if attention == VARLEN else None)
    elif _kind(decoder) == "sdpa" and place.type == "cpu":
        _register()
        decoder.set_attn_implementation(_WITHIN_EXAMPLES)  # type: ignore[operator]
    elif _kind(decoder) == "sdpa" and varlen_obstacle(model, place, dtype) is None:
        _set_attention(decoder, VARLEN, None)
    kind = _kind(decoder)
    return kind in (_WITHIN_EXAMPLES, VARLEN) or "flash" in kind or "flex" in kind


def attention_of(model: nn.Module) -> str:
    """The name of a model's attention in transformers' registry."""
    return _kind(decoder_and_head(model)[0])


def use_attention_of(model: nn.Module, name: str) -> None:
    """Give a model the attention that another process has decided on (``attention_of``)."""
    decoder, _ = decoder_and_head(model)
    if _kind(decoder) != name:
        _register()
        decoder.set_attn_implementation(name)  # type: ignore[operator]


def mask_instead_of_bounds(model: nn.Module) -> bool:
    """Let a model that attends by varlen use SDPA with a mask again; returns whether it did attend so."""
    decoder, _ = decoder_and_head(model)
    if _kind(decoder) != VARLEN:
        return False
    decoder.set_attn_implementation("sdpa")  # type: ignore[operator]
    return True


def _register() -> None:
    """Add our kinds of attention to transformers' registry."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_WITHIN_EXAMPLES, _attention_within_examples)
    AttentionMaskInterface.register(_WITHIN_EXAMPLES, sdpa_mask)
    register_varlen()


def _kind(decoder: nn.Module) -> str:
    return str(getattr(decoder.config, "_attn_implementation", None))


def _set_attention(decoder: nn.Module, attention: Attention, obstacle: str | None) -> None:
    names = {"flash": "flash_attention_2", "flex": "flex_attention"}
    _register()
    try:
        if obstacle is not None:
            raise ValueError(obstacle)
        decoder.set_attn_implementation(names.get(attention, attention))  # type: ignore[operator]
    except (ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--attention {attention} cannot be used here: {reason}. Leave it out.") from error


@dataclass(frozen=True)
class _Group:
    """Examples of similar length that are attended to at once."""

    examples: int
    longest: int
    """Tokens of the longest, to which the others are padded."""
    visible: Tensor
    """[examples, longest, longest] whether a token (first) sees another (second); padding sees nothing."""


@dataclass(frozen=True)
class _PaddedOrder:
    """The order in which the tokens of a packed row are attended to."""

    groups: tuple[_Group, ...]
    tokens: Tensor
    """[padded tokens] the token of the row in each place, group after group; 0 where there is none."""
    places: Tensor
    """[length] the place of each token of the row."""
    padding: Tensor
    """[paddings] the places where there is none."""


_ORDERS = WeakTensorKeyDictionary()
"""The order that belongs to a mask [1, 1, length, length], as long as the mask exists."""


def _attention_within_examples(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Attention of [1, heads, length, width] within each example; the mask's other parts are known to be empty.

    For anything but a packed row (a padded batch, a step of generation), and if the model does not pass positions on,
    the mask is used.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    positions = options.get("position_ids")
    row = (1, query.shape[2])
    is_row = positions is not None and positions.shape == row == (len(query), key.shape[2])
    # A mask of numbers is a bias of the scores (ALiBi), and one for each head is another thing again.
    if attention_mask is None or attention_mask.dtype != torch.bool or attention_mask.shape[1] != 1 or not is_row:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    assert positions is not None
    if attention_mask not in _ORDERS:
        _ORDERS[attention_mask] = _padded_order(positions[0], attention_mask[0, 0])
    order: _PaddedOrder = _ORDERS[attention_mask]
    scale = options.get("scaling") or query.shape[3] ** -0.5
    ordered = (_reorder(tensor[0].transpose(0, 1), order) for tensor in (query, key, value))
    sizes = [group.examples * group.longest for group in order.groups]
    attended = []
    for group, *parts in zip(order.groups, *(tensor.split(sizes) for tensor in ordered), strict=True):
        # [examples, longest, heads, width]
        queries, keys, values = (part.unflatten(0, (group.examples, group.longest)) for part in parts)
        if group.longest <= _SHORT_TOKENS and not options.get("dropout"):
            attended.append(_attention_by_matmuls(queries, keys, values, group.visible, scale=scale))
            continue
        queries, keys, values = (tensor.transpose(1, 2) for tensor in (queries, keys, values))
        result, _ = sdpa_attention_forward(module, queries, keys, values, group.visible[:, None], **options)
        attended.append(result.flatten(0, 1))
    return _back_in_order(torch.cat(attended), order)[None], None


def _attention_by_matmuls(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, *, scale: float) -> Tensor:
    """Attention by plain matmuls, of several examples at once.

    Args:
        query: [examples, longest, heads, width].
        key: The same with a divisor of as many heads.
        value: [examples, longest, key heads, value width]; DeepSeek's are narrower than its keys.
        visible: [examples, longest, longest].
        scale: The factor of the scores.

    Returns:
        [examples * longest, heads, value width]
    """
    examples, longest, heads, width = query.shape
    key_heads = key.shape[2]
    per_key = heads // key_heads
    # All queries of one key head are rows of one matmul: [examples * key heads, longest * per_key, width].
    queries = (query * scale).unflatten(2, (key_heads, per_key)).transpose(1, 2).reshape(-1, longest * per_key, width)
    keys, values = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (key, value))
    scores = (queries @ keys.transpose(1, 2)).view(examples, key_heads, longest, per_key, longest)
    # The lowest number and not minus infinity: padding sees nothing, and its softmax must stay finite.
    hidden = ~visible[:, None, :, None, :]
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
    mixed = weights.view(-1, longest * per_key, longest) @ values
    by_head: Tensor = mixed.view(examples, key_heads, longest, per_key, value.shape[3])
    return by_head.transpose(1, 2).reshape(-1, heads, value.shape[3])


def _padded_order(positions: Tensor, visible: Tensor) -> _PaddedOrder:
    """Group the examples of a row.

    Args:
        positions: [length] from 0 in every example.
        visible: [length, length] the mask of the row.
    """
    device, length = positions.device, len(positions)
    starts = (positions == 0).nonzero().squeeze(1).tolist()
    lengths = [end - start for start, end in zip(starts, [*starts[1:], length], strict=True)]
    groups, tokens, real = [], [], []
    for members in _alike(lengths):
        longest = lengths[members[0]]
        places = torch.arange(longest, device=device)
        first = torch.tensor([[starts[index]] for index in members], device=device)
        is_real = places < torch.tensor([[lengths[index]] for index in members], device=device)
        at = torch.where(is_real, first + places, 0)
        seen = visible[at[:, :, None], at[:, None, :]] & is_real[:, :, None] & is_real[:, None, :]
        groups.append(_Group(len(members), longest, seen))
        tokens.append(at.flatten())
        real.append(is_real.flatten())
    all_tokens, is_token = torch.cat(tokens), torch.cat(real)
    places = torch.empty(length, dtype=torch.long, device=device)
    places[all_tokens[is_token]] = is_token.nonzero().squeeze(1)
    return _PaddedOrder(tuple(groups), all_tokens, places, (~is_token).nonzero().squeeze(1))


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of examples that can share a batch, the longest first: none is shorter than 3/4 of its batch's first.

    One that is too long for matmuls has a batch of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[groups[-1][0]] if groups else 0
        if groups and longest <= _SHORT_TOKENS and 4 * lengths[index] >= 3 * longest:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _reorder(rows: Tensor, order: _PaddedOrder) -> Tensor:
    """The tokens [length, ...] of a row in the padded order: [padded tokens, ...]."""
    nothing = order.places.new_empty(0)
    ordered: Tensor = _Moved.apply(rows, order.tokens, order.places, nothing)  # type: ignore[no-untyped-call]
    return ordered


def _back_in_order(ordered: Tensor, order: _PaddedOrder) -> Tensor:
    """The same tokens in the order of the row."""
    rows: Tensor = _Moved.apply(  # type: ignore[no-untyped-call]
        ordered, order.places, order.tokens, order.padding
    )
    return rows


class _Moved(torch.autograd.Function):
    """Rows in another order. Every row but padding is moved to exactly one place, so its gradient comes from one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, taken: Tensor, back: Tensor, without_gradient: Tensor) -> Tensor:
        ctx.save_for_backward(back, without_gradient)
        return _select(rows, taken)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        back, without_gradient = ctx.saved_tensors
        return _select(output_gradients[0], back).index_fill_(0, without_gradient, 0), None, None, None


def _select(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows by their indices; as a matrix, which PyTorch copies ten times as fast as anything with more dimensions."""
    return rows.flatten(1).index_select(0, indices).view(-1, *rows.shape[1:])
