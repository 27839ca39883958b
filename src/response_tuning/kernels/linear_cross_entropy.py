"""Cross-entropy of a linear head, without ever holding a row of logits for the whole vocabulary.

With hidden states ``h``, head rows ``w`` and logits ``z = w h``, the loss of a token is, in a form that stays exact for
the smallest losses, and its gradient with respect to ``h`` is

    log(1 + sum over others of exp(z[other] - z[target]))
    sum over others of softmax(z)[other] (w[other] - w[target])

with the sums over the vocabulary without the target. One pass over *tiles* of the vocabulary computes both:

    for every tile of head rows:                  [tile, hidden]
        exponentials = exp(h @ tile.T - z[target])    [tokens, tile]   the only large buffer: it stays in the cache
        mass        += exponentials.sum()             [tokens]
        weighted    += exponentials @ tile            [tokens, hidden]

That is two matmuls per tile, none repeated in the backward pass, and memory that does not depend on the vocabulary. The
target's logit is known beforehand, so nothing has to be rescaled on the way; and where the CPU's library rounds matmuls
to bf16, it rounds differences, which are small where they matter, and not logits, which are large (docs/log.md).

A bias of the head is added to the logits of each tile. A scale of the logits is folded into the hidden states
beforehand (``models.heads.logit_scale``).

Most tiles hold almost none of most tokens' mass, and on the CPU those tokens are skipped in the second matmul: gradient
filtering (Wijmans et al. 2024, arXiv 2411.09009, section 4.3), with a bound. The mass skipped for a token never exceeds
the rounding unit of the matmuls' dtype, 2^-8 in bf16.

A head that trains also needs the gradient of every row, ``sum over tokens of (softmax - one-hot) h``, which depends on
the final sums and the gradient of each token's loss. So the forward pass computes only the sums, and the backward pass
visits the tiles again: four matmuls, and each row's gradient is written once. The alternative, chunks of tokens over
the whole vocabulary, saves one matmul but reads and writes the whole gradient [vocabulary, hidden] for every chunk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from response_tuning.kernels import tile_sizes
from response_tuning.kernels.library_kernels import cut_cross_entropy, liger_cross_entropy, trained_liger_cross_entropy
from response_tuning.support.errors import UserError
from response_tuning.support.options import LossKernel

__all__ = [
    "capped",
    "default_tile_rows",
    "defers_overflow",
    "linear_cross_entropy",
    "overflows_unchecked",
    "trained_linear_cross_entropy",
]

_ROUND_TOKENS = 64
"""Second matmuls have a multiple of this many tokens: the CPU's library prepares kernels for each new number."""
_SMALL_PARTS = 4
"""A tile may be skipped for a token while it holds less than this many times its even part of all that may be."""
_MUCH = 1e30
"""Sums of exponentials up to this stay finite, and so do their matmuls with a head's rows."""
_UNCHECKED: ContextVar[bool] = ContextVar("unchecked", default=False)


def linear_cross_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    tile_rows: int | None = None,
    kernel: LossKernel = "auto",
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The cross-entropy, in nats, of each target under a frozen linear head.

    Matmuls run in the head's dtype, sums in fp32. Exponentials have the dtype of the matmuls' results: the head's on
    the CPU, fp32 on a GPU.

    Args:
        hidden: Final hidden states [tokens, hidden]; the gradient flows into these only.
        head_weight: Rows of the output head [vocabulary, hidden], frozen.
        targets: Token ids [tokens].
        bias: Of the head [vocabulary], frozen; None without one.
        softcap: ``c`` where the model caps logits as ``c * tanh(logits / c)`` (Gemma 2).
        label_smoothing: The fraction of each target that is distributed over the vocabulary (Szegedy et al. 2016).
        tile_rows: Head rows per tile; None chooses for the device (``kernels.tile_sizes``).
        kernel: auto: the tiles described above. Others: see ``kernels.library_kernels``; ask ``require_kernel`` first.
        dtype: Of the matmuls of the tiles; None for the head's.

    Returns:
        Losses [tokens] in fp32.

    Raises:
        ValueError: the head requires a gradient, or, on a CPU, a target is outside the vocabulary.
    """
    if head_weight.requires_grad:
        raise ValueError("linear_cross_entropy is for a frozen head; head_weight must not require a gradient")
    _check_targets(targets, head_weight)
    _require_no_bias(bias, kernel)
    if kernel == "liger" and len(targets):
        return liger_cross_entropy(hidden, head_weight, targets, softcap=softcap, label_smoothing=label_smoothing)
    if kernel == "cut-cross-entropy" and len(targets):
        return cut_cross_entropy(hidden, head_weight, targets, softcap=softcap)
    with_gradient = hidden.requires_grad and torch.is_grad_enabled()
    tile_rows = tile_rows or _tile_rows(hidden, head_weight, softcap)
    head = _Head(head_weight, bias, softcap, label_smoothing, tile_rows, dtype or head_weight.dtype)
    losses: Tensor = _FrozenHead.apply(hidden, targets, head, with_gradient)  # type: ignore[no-untyped-call]
    return losses


def trained_linear_cross_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    tile_rows: int | None = None,
    kernel: LossKernel = "auto",
) -> Tensor:
    """The same as ``linear_cross_entropy``, with a gradient for the head and its bias as well.

    Matmuls run in autocast's dtype if that is on, in the head's if it is not; the rest in fp32. The
    head's gradient has the head's dtype, so fp32 master weights get fp32 gradients.

    Raises:
        ValueError: on a CPU, a target is outside the vocabulary.
    """
    _check_targets(targets, head_weight)
    _require_no_bias(bias, kernel)
    if kernel == "liger" and len(targets):
        return trained_liger_cross_entropy(
            hidden, head_weight, targets, softcap=softcap, label_smoothing=label_smoothing
        )
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head_weight.dtype
    tile_rows = tile_rows or _tile_rows(hidden, head_weight, softcap)
    losses: Tensor = _TrainedHead.apply(  # type: ignore[no-untyped-call]
        hidden, head_weight, bias, targets, (softcap, label_smoothing, tile_rows, dtype)
    )
    return losses


def default_tile_rows(*, on_cpu: bool) -> int:
    """The most rows of the head per tile, unless another number is given."""
    return tile_sizes.TILE_ROWS_CPU if on_cpu else tile_sizes.MOST_TILE_ROWS


def capped(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """Capped logits, and the derivative of the cap where there is one."""
    if softcap is None:
        return logits, None
    squashed = torch.tanh(logits / softcap)
    return softcap * squashed, 1 - squashed.square()


def _require_no_bias(bias: Tensor | None, kernel: LossKernel) -> None:
    if bias is not None and kernel not in ("auto", "tiles"):
        raise UserError(f"--loss-kernel {kernel} has no bias, and the head of this model has one. Leave it out.")


def _check_targets(targets: Tensor, head_weight: Tensor) -> None:
    """On an accelerator, which would have to be waited for, whoever encodes the targets has to know the vocabulary."""
    if targets.device.type != "cpu":
        return
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < head_weight.shape[0]:
        raise ValueError(f"a target lies outside the vocabulary of {head_weight.shape[0]} tokens")


@dataclass(frozen=True)
class _Head:
    """A linear head, and how losses are computed from its logits."""

    weight: Tensor
    """[vocabulary, hidden]"""
    bias: Tensor | None
    """[vocabulary]"""
    softcap: float | None
    label_smoothing: float
    tile_rows: int
    dtype: torch.dtype
    """Of matmuls."""

    @property
    def vocabulary(self) -> int:
        return len(self.weight)

    @property
    def smoothed(self) -> float:
        """The part of each target that label smoothing assigns to every token."""
        return self.label_smoothing / self.vocabulary

    def bias_of(self, start: int, rows: int) -> Tensor | None:
        """The bias [rows] of the tile that begins with row ``start``, in fp32."""
        return None if self.bias is None else self.bias[start : start + rows].float()

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """The first row of each tile, and its rows [tile, hidden]."""
        starts = range(0, self.vocabulary, self.tile_rows)
        for start, tile in zip(starts, self.weight.split(self.tile_rows), strict=True):
            yield start, tile.to(self.dtype)


def _tile_rows(hidden: Tensor, head_weight: Tensor, softcap: float | None) -> int:
    if hidden.device.type == "cpu":
        return tile_sizes.TILE_ROWS_CPU
    return tile_sizes.tile_rows_within(
        tile_sizes.logits_budget(hidden.device),
        tokens=len(hidden),
        vocabulary=len(head_weight),
        capped=softcap is not None,
    )


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: _Head, with_gradient: bool) -> Tensor:
        # Autocast would convert once more; the matmuls below choose their own dtypes.
        with torch.autocast(hidden.device.type, enabled=False):
            sums = _sums(hidden.to(head.dtype), targets, head, with_gradient=with_gradient)
            if with_gradient:
                ctx.save_for_backward(sums.gradient(head).to(hidden.dtype))
        return sums.losses(head)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * output_gradients[0].to(gradient.dtype)[:, None], None, None, None


class _TrainedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head_weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        options: tuple[float | None, float, int, torch.dtype],
    ) -> Tensor:
        head = _Head(head_weight, bias, *options)
        with torch.autocast(hidden.device.type, enabled=False):
            sums = _sums(hidden.to(head.dtype), targets, head, with_gradient=False)
        ctx.save_for_backward(hidden, head_weight, bias, targets, sums.shift, sums.normaliser, sums.others)
        # Not the head, which may be sharded over processes until the backward pass gathers it again.
        ctx.options, ctx.rounded = options, sums.rounded
        return sums.losses(head)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head_weight, bias, targets, shift, normaliser, others = ctx.saved_tensors
        head = _Head(head_weight, bias, *ctx.options)
        narrow = hidden.to(head.dtype)
        hidden_gradient = torch.zeros(hidden.shape, device=hidden.device)
        head_gradient = torch.empty_like(head_weight)
        bias_gradient = None if bias is None else torch.empty_like(bias)
        scale = output_gradients[0].float()[:, None]
        buffer = _buffer(narrow, head) if ctx.rounded else None
        for start, tile in head.tiles():
            logits, slope = _shifted_logits(narrow, tile, head.bias_of(start, len(tile)), shift, head.softcap, buffer)
            gradient = logits.exp_().float().div_(normaliser)
            _set_at_targets(gradient, targets - start, head.label_smoothing - others / normaliser)
            if head.label_smoothing:
                gradient -= head.smoothed
            gradient *= scale if slope is None else scale * slope
            narrow_gradient = gradient.to(head.dtype)
            hidden_gradient += _matmul(narrow_gradient, tile)
            head_gradient[start : start + len(tile)] = _matmul(narrow_gradient.T, narrow)
            if bias_gradient is not None:
                bias_gradient[start : start + len(tile)] = gradient.sum(dim=0)
        return hidden_gradient.to(hidden.dtype), head_gradient, bias_gradient, None, None


@dataclass(frozen=True)
class _Sums:
    """What losses and their gradients are computed from, in fp32."""

    target_logits: Tensor
    """[tokens, 1]"""
    target_gradients: Tensor
    """[tokens, hidden] of those"""
    shift: Tensor
    """[tokens, 1] what was subtracted from all logits before their exponentials"""
    rounded: bool
    """Whether shifted logits and exponentials have the matmuls' dtype; fp32 if not."""
    others: Tensor
    """[tokens, 1] exponentials of all tokens but the target"""
    weighted: Tensor | None
    """[tokens, hidden] of those, times the gradient of their logit less that of the target's; None if not wanted"""
    logits: Tensor
    """[tokens, 1] all logits, where labels are smoothed"""
    logits_gradient: Tensor
    """[tokens or 1, hidden] of those"""

    @property
    def normaliser(self) -> Tensor:
        """[tokens, 1] exponentials of all tokens"""
        return self.others + torch.exp(self.target_logits - self.shift)

    def losses(self, head: _Head) -> Tensor:
        """[tokens]"""
        ratio = self.others.log() + self.shift - self.target_logits
        losses = torch.logaddexp(ratio, torch.zeros_like(ratio))
        if head.label_smoothing:
            losses += head.label_smoothing * self.target_logits - head.smoothed * self.logits
        return losses.squeeze(1)

    def gradient(self, head: _Head) -> Tensor:
        """[tokens, hidden] of the losses"""
        assert self.weighted is not None
        gradient = self.weighted / self.normaliser
        if head.label_smoothing:
            gradient += head.label_smoothing * self.target_gradients - head.smoothed * self.logits_gradient
        return gradient


@contextmanager
def overflows_unchecked() -> Iterator[None]:
    """Within this context, an accelerator is not waited for to learn whether a loss overflows.

    The loss, or its gradient, of a target that is less likely than one in 10^30 is then no finite number. Whoever sees
    that has to compute it again outside.
    """
    token = _UNCHECKED.set(True)
    try:
        yield
    finally:
        _UNCHECKED.reset(token)


def defers_overflow(device: torch.device) -> bool:
    """Whether ``overflows_unchecked`` changes anything on ``device``: a CPU need not be waited for."""
    return device.type != "cpu"


def _sums(hidden: Tensor, targets: Tensor, head: _Head, *, with_gradient: bool) -> _Sums:
    """One pass over the vocabulary; where that overflows, two more."""
    sums = _sums_shifted(hidden, targets, head, with_gradient=with_gradient)
    if _UNCHECKED.get() and defers_overflow(hidden.device):
        infinite = torch.full_like(sums.others, torch.inf)
        return replace(sums, others=torch.where(sums.others < _MUCH, sums.others, infinite))
    if bool((sums.others < _MUCH).all()):
        return sums
    # Some target is less likely than one in 10^30, or no number at all.
    return _sums_shifted(hidden, targets, head, with_gradient=with_gradient, shift=_largest_logits(hidden, head))


def _sums_shifted(
    hidden: Tensor, targets: Tensor, head: _Head, *, with_gradient: bool, shift: Tensor | None = None
) -> _Sums:
    """One pass over the vocabulary, with logits shifted by the target's if no ``shift`` [tokens, 1] is given."""
    rows = head.weight[targets].to(hidden.dtype).float()
    uncapped = (hidden.float() * rows).sum(dim=1, keepdim=True)
    if head.bias is not None:
        uncapped += head.bias[targets, None].float()
    target_logits, slope = capped(uncapped, head.softcap)
    target_gradients = rows if slope is None else rows * slope
    buffer = _buffer(hidden, head) if shift is None else None
    if shift is None:
        shift = target_logits if buffer is None else target_logits.to(hidden.dtype).float()
    others, skipped, logits = (torch.zeros_like(target_logits) for _ in range(3))
    weighted = torch.zeros_like(rows) if with_gradient else None
    logits_gradient = torch.zeros_like(rows if head.softcap else rows[:1])
    for start, tile in head.tiles():
        shifted, slope = _shifted_logits(hidden, tile, head.bias_of(start, len(tile)), shift, head.softcap, buffer)
        if head.label_smoothing:
            logits += shifted.sum(dim=1, keepdim=True, dtype=torch.float32) + len(tile) * shift
            if with_gradient:
                logits_gradient += tile.float().sum(dim=0) if slope is None else _matmul(slope.to(tile.dtype), tile)
        exponentials = shifted.exp_()
        _set_at_targets(exponentials, targets - start, 0.0)
        mass = exponentials.sum(dim=1, keepdim=True, dtype=torch.float32)
        others += mass
        if weighted is None:
            continue
        weights = exponentials if slope is None else exponentials.mul_(slope)
        # An accelerator would have to wait for the number of tokens that are taken.
        taken = _considerable(mass, others, skipped, head) if hidden.device.type == "cpu" else None
        if taken is None:
            weighted += _matmul(weights.to(tile.dtype), tile)
        else:
            weighted.index_add_(0, taken, _matmul(weights.index_select(0, taken).to(tile.dtype), tile))
            skipped += mass.index_fill_(0, taken, 0.0)
    if weighted is not None:
        weighted.addcmul_(others - skipped, target_gradients, value=-1)
    return _Sums(target_logits, target_gradients, shift, buffer is not None, others, weighted, logits, logits_gradient)


def _buffer(hidden: Tensor, head: _Head) -> Tensor | None:
    """The buffer that the logits of every tile are written to in turn, in the matmuls' dtype; None if they cannot be.

    Fresh memory for each tile would cost a twentieth of the time.
    """
    if hidden.device.type != "cpu" or head.softcap is not None:
        return None
    return hidden.new_empty(len(hidden), min(head.tile_rows, head.vocabulary))


def _shifted_logits(
    hidden: Tensor, tile: Tensor, bias: Tensor | None, shift: Tensor, softcap: float | None, buffer: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Logits [tokens, tile] minus ``shift``, in ``buffer`` if there is one; and the derivative of their cap, if any."""
    if buffer is None:
        logits, slope = capped(_biased(_matmul(hidden, tile.T), bias), softcap)
        return logits.sub_(shift), slope
    logits = buffer[:, : len(tile)]
    return logits.copy_(-shift if bias is None else bias - shift).addmm_(hidden, tile.T), None


def _biased(logits: Tensor, bias: Tensor | None) -> Tensor:
    return logits if bias is None else logits.add_(bias)


def _considerable(mass: Tensor, others: Tensor, skipped: Tensor, head: _Head) -> Tensor | None:
    """The tokens that need a tile's part in their gradient; None for all.

    Args:
        mass: [tokens, 1] the exponentials in this tile.
        others: [tokens, 1] the exponentials in all tiles so far: at most what there will be in the end.
        skipped: [tokens, 1] what of them has been skipped before.
        head: The head.
    """
    most = torch.finfo(head.dtype).eps / 2
    even_part = most * head.tile_rows / head.vocabulary
    allowed = torch.minimum(_SMALL_PARTS * even_part * others, most * others - skipped)
    excess = (mass - allowed).squeeze(1)
    count = int((excess > 0).sum())
    count += -count % _ROUND_TOKENS
    return excess.topk(count, sorted=False).indices if count < len(excess) else None


def _largest_logits(hidden: Tensor, head: _Head) -> Tensor:
    """[tokens, 1] in fp32"""
    largest = [
        capped(_biased(_matmul(hidden, tile.T), head.bias_of(start, len(tile))), head.softcap)[0].amax(1, keepdim=True)
        for start, tile in head.tiles()
    ]
    return torch.stack(largest).amax(dim=0)


def _matmul(left: Tensor, right: Tensor) -> Tensor:
    """The matmul in fp32; on a GPU it is not rounded on the way, the CPU's library does round it."""
    if left.is_cuda and left.dtype != torch.float32 and torch.version.hip is None:
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).float()


def _set_at_targets(matrix: Tensor, columns: Tensor, values: Tensor | float) -> None:
    """Write ``values``, one number or [tokens, 1], where a token's target is one of the columns of this tile.

    Every token writes to some column, its own value where the target lies elsewhere: to select the tokens inside, an
    accelerator would have to be waited for.
    """
    inside = ((columns >= 0) & (columns < matrix.shape[1]))[:, None]
    nearest = columns.clamp(0, matrix.shape[1] - 1)[:, None]
    matrix.scatter_(1, nearest, torch.where(inside, values, matrix.gather(1, nearest)).to(matrix.dtype))
