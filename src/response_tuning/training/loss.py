"""Cross-entropy of an output head, without ever holding a row of logits for the whole vocabulary.

With a frozen head, for hidden states ``h`` and head rows ``w``, the loss of a token is ``logsumexp(w h) - w[target] h``
and its gradient with respect to ``h`` is ``softmax(w h) w - w[target]``. Both sums run over the vocabulary, so one pass
over *tiles* of the vocabulary makes both, with the running maximum of the online softmax (Milakov & Gimelshein 2018;
the same idea as in FlashAttention):

    for every tile of head rows:            [tile, hidden]
        logits      = h @ tile.T            [tokens, tile]   the only large buffer: it stays in the processor's cache
        exponential = exp(logits - maximum)
        normaliser += exponential.sum()     [tokens]
        weighted   += exponential @ tile    [tokens, hidden]

Two matrix products per tile, none repeated in the backward pass, and memory that does not depend on the vocabulary.

A head that trains also wants the gradient of every row, ``sum over tokens of (softmax - one-hot) h``, which needs the
final normaliser and the gradient of each token's loss. So the forward pass makes the normaliser alone, and the
backward pass goes over the tiles again: four products, and each row's gradient is written once. The other way, chunks
of tokens over the whole vocabulary, saves one product but reads and writes the whole gradient [vocabulary, hidden] for
every chunk.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig

from response_tuning.errors import UserError
from response_tuning.models import decoder_and_head
from response_tuning.options import LossKernel
from response_tuning.training import loss_chunks
from response_tuning.training.batching import Batch, filling
from response_tuning.training.loss_kernels import cut_cross_entropy, liger_cross_entropy, trained_liger_cross_entropy
from response_tuning.training.mixup import mix

__all__ = ["ResponseLoss", "default_tile_rows", "linear_cross_entropy", "trained_linear_cross_entropy"]


def linear_cross_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    tile_rows: int | None = None,
    kernel: LossKernel = "auto",
) -> Tensor:
    """The cross-entropy, in nats, of each target under a frozen linear head.

    Matrix products run in the head's dtype; maxima, exponentials and sums in fp32.

    Args:
        hidden: Final hidden states [tokens, hidden]; the gradient flows into these alone.
        head_weight: Rows of the output head [vocabulary, hidden], frozen.
        targets: Token ids [tokens].
        softcap: ``c`` where the model caps logits as ``c * tanh(logits / c)`` (Gemma 2).
        label_smoothing: The share of each target that is spread evenly over the vocabulary (Szegedy et al. 2016).
        tile_rows: Head rows per tile; None chooses for the device (``training.loss_chunks``).
        kernel: auto: the tiles described above. Others: see ``training.loss_kernels``; ask ``require_kernel`` first.

    Returns:
        Losses [tokens] in fp32.

    Raises:
        ValueError: the head wants a gradient, or a target is outside the vocabulary.
    """
    if head_weight.requires_grad:
        raise ValueError("linear_cross_entropy is for a frozen head; head_weight must not require a gradient")
    _check_targets(targets, head_weight)
    if kernel == "liger" and len(targets):
        return liger_cross_entropy(hidden, head_weight, targets, softcap=softcap, label_smoothing=label_smoothing)
    if kernel == "cut-cross-entropy" and len(targets):
        return cut_cross_entropy(hidden, head_weight, targets, softcap=softcap)
    with_gradient = hidden.requires_grad and torch.is_grad_enabled()
    losses: Tensor = _FrozenHead.apply(  # type: ignore[no-untyped-call]
        hidden,
        head_weight,
        targets,
        softcap,
        label_smoothing,
        tile_rows or _tile_rows(hidden, head_weight, softcap),
        with_gradient,
    )
    return losses


def trained_linear_cross_entropy(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    *,
    softcap: float | None = None,
    label_smoothing: float = 0.0,
    tile_rows: int | None = None,
    kernel: LossKernel = "auto",
) -> Tensor:
    """The same as ``linear_cross_entropy``, with a gradient for the head as well.

    Matrix products run in autocast's dtype where that is on, in the head's where it is not; the rest in fp32. The
    head's gradient has the head's dtype, so fp32 master weights get fp32 gradients.

    Raises:
        ValueError: a target is outside the vocabulary.
    """
    _check_targets(targets, head_weight)
    if kernel == "liger" and len(targets):
        return trained_liger_cross_entropy(
            hidden, head_weight, targets, softcap=softcap, label_smoothing=label_smoothing
        )
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head_weight.dtype
    losses: Tensor = _TrainedHead.apply(  # type: ignore[no-untyped-call]
        hidden,
        head_weight,
        targets,
        softcap,
        label_smoothing,
        tile_rows or _tile_rows(hidden, head_weight, softcap),
        dtype,
    )
    return losses


def _check_targets(targets: Tensor, head_weight: Tensor) -> None:
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < head_weight.shape[0]:
        raise ValueError(f"a target lies outside the vocabulary of {head_weight.shape[0]} tokens")


def default_tile_rows(*, on_cpu: bool) -> int:
    """The most rows of the head that are taken at once where nothing else is asked for."""
    return loss_chunks.TILE_ROWS_CPU if on_cpu else loss_chunks.MOST_TILE_ROWS


def _tile_rows(hidden: Tensor, head_weight: Tensor, softcap: float | None) -> int:
    if hidden.device.type == "cpu":
        return loss_chunks.TILE_ROWS_CPU
    return loss_chunks.tile_rows_within(
        loss_chunks.logits_budget(hidden.device),
        tokens=len(hidden),
        vocabulary=len(head_weight),
        capped=softcap is not None,
    )


def _product(left: Tensor, right: Tensor, room: Tensor | None = None) -> Tensor:
    """The matrix product in fp32, on a GPU without being rounded on the way; the processor's library does round it.

    ``room`` is where it may be written, if it has to be converted.
    """
    if left.is_cuda and left.dtype != torch.float32 and torch.version.hip is None:
        return torch.mm(left, right, out_dtype=torch.float32)
    product = left @ right
    return product.float() if room is None or product.dtype == torch.float32 else room.copy_(product)


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head_weight: Tensor,
        targets: Tensor,
        softcap: float | None,
        label_smoothing: float,
        tile_rows: int,
        with_gradient: bool,
    ) -> Tensor:
        # Autocast would convert once more; the products below choose their own dtypes.
        with torch.autocast(hidden.device.type, enabled=False):
            losses, gradient = _losses_and_gradient(
                hidden.to(head_weight.dtype), head_weight, targets, softcap, label_smoothing, tile_rows, with_gradient
            )
        if gradient is not None:
            ctx.save_for_backward(gradient.to(hidden.dtype))
        return losses

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * output_gradients[0].to(gradient.dtype)[:, None], None, None, None, None, None, None)


def _losses_and_gradient(
    hidden: Tensor,
    head_weight: Tensor,
    targets: Tensor,
    softcap: float | None,
    label_smoothing: float,
    tile_rows: int,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    tokens, width = hidden.shape
    maximum = torch.full((tokens, 1), -torch.inf, device=hidden.device)
    normaliser = torch.zeros((tokens, 1), device=hidden.device)
    weighted = torch.zeros((tokens, width), device=hidden.device) if with_gradient else None
    spread = label_smoothing / head_weight.shape[0]
    spread_logits = torch.zeros((tokens, 1), device=hidden.device)
    spread_gradient = torch.zeros((tokens if softcap else 1, width), device=hidden.device)
    # One place for the logits of every tile: on the CPU fresh memory would cost a twentieth of the time.
    room = torch.empty((tokens, min(tile_rows, len(head_weight)))) if hidden.device.type == "cpu" else None
    for tile in head_weight.split(tile_rows):
        logits, slope = _capped(_product(hidden, tile.T, None if room is None else room[:, : len(tile)]), softcap)
        if spread:
            spread_logits += logits.sum(dim=1, keepdim=True)
            if with_gradient:
                spread_gradient += tile.float().sum(dim=0) if slope is None else _product(slope.to(tile.dtype), tile)
        new_maximum = torch.maximum(maximum, logits.amax(dim=1, keepdim=True))
        rescale = torch.exp(maximum - new_maximum)
        exponential = logits.sub_(new_maximum).exp_()
        normaliser = normaliser * rescale + exponential.sum(dim=1, keepdim=True)
        if weighted is not None:
            weights = exponential if slope is None else exponential * slope
            weighted.mul_(rescale).add_(_product(weights.to(tile.dtype), tile))
        maximum = new_maximum
    target_rows = head_weight[targets].float()
    target_logits, target_slope = _capped((hidden.float() * target_rows).sum(dim=1, keepdim=True), softcap)
    aim = (1 - label_smoothing) * target_logits + spread * spread_logits
    losses = (maximum + normaliser.log() - aim).squeeze(1)
    if weighted is None:
        return losses, None
    aim_gradient = target_rows if target_slope is None else target_rows * target_slope
    return losses, weighted / normaliser - (1 - label_smoothing) * aim_gradient - spread * spread_gradient


class _TrainedHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head_weight: Tensor,
        targets: Tensor,
        softcap: float | None,
        label_smoothing: float,
        tile_rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        tokens, vocabulary = len(hidden), len(head_weight)
        maximum = torch.full((tokens, 1), -torch.inf, device=hidden.device)
        normaliser, aim = (torch.zeros((tokens, 1), device=hidden.device) for _ in range(2))
        with torch.autocast(hidden.device.type, enabled=False):
            narrow = hidden.to(dtype)
            for start, tile in zip(range(0, vocabulary, tile_rows), head_weight.split(tile_rows), strict=True):
                logits, _ = _capped(_product(narrow, tile.to(dtype).T), softcap)
                aim += (1 - label_smoothing) * _at_targets(logits, targets - start)
                if label_smoothing:
                    aim += label_smoothing / vocabulary * logits.sum(dim=1, keepdim=True)
                new_maximum = torch.maximum(maximum, logits.amax(dim=1, keepdim=True))
                rescale = torch.exp(maximum - new_maximum)
                normaliser = normaliser * rescale + logits.sub_(new_maximum).exp_().sum(dim=1, keepdim=True)
                maximum = new_maximum
        log_normaliser = maximum + normaliser.log()
        ctx.save_for_backward(hidden, head_weight, targets, log_normaliser)
        ctx.options = (softcap, label_smoothing, tile_rows, dtype)
        return (log_normaliser - aim).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head_weight, targets, log_normaliser = ctx.saved_tensors
        softcap, label_smoothing, tile_rows, dtype = ctx.options
        narrow, vocabulary = hidden.to(dtype), len(head_weight)
        hidden_gradient = torch.zeros(hidden.shape, device=hidden.device)
        head_gradient = torch.empty_like(head_weight)
        scale = output_gradients[0].float()[:, None]
        for start, tile in zip(range(0, vocabulary, tile_rows), head_weight.split(tile_rows), strict=True):
            rows = tile.to(dtype)
            logits, slope = _capped(_product(narrow, rows.T), softcap)
            gradient = logits.sub_(log_normaliser).exp_()
            if label_smoothing:
                gradient -= label_smoothing / vocabulary
            _subtract_at_targets(gradient, targets - start, 1 - label_smoothing)
            gradient *= scale if slope is None else scale * slope
            narrow_gradient = gradient.to(dtype)
            hidden_gradient += _product(narrow_gradient, rows)
            head_gradient[start : start + len(tile)] = _product(narrow_gradient.T, narrow)
        return hidden_gradient.to(hidden.dtype), head_gradient, None, None, None, None, None


def _at_targets(logits: Tensor, columns: Tensor) -> Tensor:
    """The logit [tokens, 1] of each target whose column lies in this tile, 0 for the others."""
    inside = (columns >= 0) & (columns < logits.shape[1])
    found = logits.gather(1, columns.clamp(0, logits.shape[1] - 1)[:, None])
    return found * inside[:, None]


def _subtract_at_targets(gradient: Tensor, columns: Tensor, amount: float) -> None:
    inside = ((columns >= 0) & (columns < gradient.shape[1])).nonzero().squeeze(1)
    gradient[inside, columns[inside]] -= amount


def _capped(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """Capped logits, and the derivative of the cap where there is one."""
    if softcap is None:
        return logits, None
    squashed = torch.tanh(logits / softcap)
    return softcap * squashed, 1 - squashed.square()


class ResponseLoss:
    """The losses of a model's supervised tokens: its decoder, then the head at the supervised positions alone."""

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0, kernel: LossKernel = "auto") -> None:
        self._model = model
        self._decoder, head = decoder_and_head(model)
        self._head = head  # not its weight, which is another while it is gathered from several processes
        self._label_smoothing = label_smoothing
        self._kernel = kernel
        config = self._decoder.config
        assert isinstance(config, PreTrainedConfig)
        self._softcap: float | None = getattr(config.get_text_config(), "final_logit_softcapping", None)

    def __call__(self, batch: Batch) -> Tensor:
        """The loss [supervised tokens] of each supervised token of ``batch``, in nats and fp32.

        That is its negative log-likelihood, where there is no label smoothing.
        """
        return self._cross_entropy(self._predicting(batch), batch.targets)

    def with_mixtures(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The same, and the loss [mixtures] of each of the batch's mixtures, in one pass over the head.

        With shares ``a`` and ``1 - a`` of two targets, and logits ``z``, a mixture's loss is ``logsumexp(z) -
        a z[first] - (1 - a) z[second]``: that of the first target alone, and ``(1 - a) (z[first] - z[second])``.
        """
        if batch.mixtures is None:
            return self(batch), torch.zeros(0, device=batch.input_ids.device)
        hidden, mixtures = self._predicting(batch), batch.mixtures
        mixed, first, second = mix(hidden, mixtures), batch.targets[mixtures.first], batch.targets[mixtures.second]
        losses = self._cross_entropy(torch.cat((hidden, mixed)), torch.cat((batch.targets, first)))
        own, of_first = losses.split([len(hidden), len(mixed)])
        logits = self._logits_at(mixed, torch.stack((first, second)))
        aimed = (1 - self._label_smoothing) * (1 - mixtures.first_share)
        return own, of_first + aimed * (logits[0] - logits[1])

    def _predicting(self, batch: Batch) -> Tensor:
        """The final hidden states [supervised tokens, hidden] that the supervised tokens are predicted from."""
        # Without an attention mask, and only so, positions that restart keep the examples of a packed row apart.
        packed = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
        hidden: Tensor = self._decoder(input_ids=batch.input_ids, use_cache=False, **packed).last_hidden_state
        return hidden.flatten(0, 1)[batch.predicting_positions]

    def _cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        head_weight = self._head.weight
        trains = head_weight.requires_grad and torch.is_grad_enabled()
        cross_entropy_of = trained_linear_cross_entropy if trains else linear_cross_entropy
        count, filled = len(targets), filling(len(targets))
        losses = cross_entropy_of(
            nn.functional.pad(hidden, (0, 0, 0, filled)),
            head_weight if trains else head_weight.detach(),
            nn.functional.pad(targets, (0, filled)),
            softcap=self._softcap,
            label_smoothing=self._label_smoothing,
            kernel=self._kernel,
        )
        return losses[:count]

    def _logits_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The logits [sets, tokens] of several sets of targets, rounded as the losses round theirs."""
        device, head_weight = hidden.device.type, self._head.weight
        narrow = head_weight.requires_grad and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if narrow else head_weight.dtype
        rows = nn.functional.embedding(targets, head_weight).to(dtype).float()
        return _capped((hidden.to(dtype).float() * rows).sum(dim=-1), self._softcap)[0]

    @torch.no_grad()
    def check(self, batch: Batch) -> None:
        """Refuse a model that makes its logits in a way that this loss does not know (a scale, a bias, a second head).

        Raises:
            UserError: the model's own logits give another loss on ``batch``.
        """
        logits = self._model(input_ids=batch.input_ids, use_cache=False).logits.flatten(0, 1)
        own = cross_entropy(logits[batch.predicting_positions].float(), batch.targets)
        ours = self(batch).mean()
        if not torch.isclose(ours, own, rtol=0.02, atol=0.02):
            raise UserError(
                f"{type(self._model).__name__} makes its logits in a way that is not supported here "
                f"(loss {ours:.3f} where the model's own logits give {own:.3f})."
            )
