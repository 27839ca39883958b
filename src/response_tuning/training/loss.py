"""Cross-entropy of a frozen output head, without ever holding a row of logits for the whole vocabulary.

For hidden states ``h`` and head rows ``w`` the loss of a token is ``logsumexp(w h) - w[target] h`` and its gradient
with respect to ``h`` is ``softmax(w h) w - w[target]``. Both sums run over the vocabulary, so one pass over *tiles* of
the vocabulary makes both, with the running maximum of the online softmax (Milakov & Gimelshein 2018; the same
idea as in FlashAttention):

    for every tile of head rows:            [tile, hidden]
        logits      = h @ tile.T            [tokens, tile]   the only large buffer: it stays in the processor's cache
        exponential = exp(logits - maximum)
        normaliser += exponential.sum()     [tokens]
        weighted   += exponential @ tile    [tokens, hidden]

Two matrix products per tile, none repeated in the backward pass, and memory that does not depend on the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig

from response_tuning.errors import UserError
from response_tuning.models import decoder_and_head
from response_tuning.training.batching import Batch

__all__ = ["ResponseLoss", "linear_cross_entropy"]

_TILE_ROWS_CPU = 2048
"""Best of 1k-16k on two cores with 2 MiB of second-level cache (docs/log.md)."""
_TILE_ROWS_ACCELERATOR = 32768


def linear_cross_entropy(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, *, softcap: float | None = None, tile_rows: int | None = None
) -> Tensor:
    """The negative log-likelihood, in nats, of each target under a frozen linear head.

    Matrix products run in the head's dtype; maxima, exponentials and sums in fp32.

    Args:
        hidden: Final hidden states [tokens, hidden]; the gradient flows into these alone.
        head_weight: Rows of the output head [vocabulary, hidden], frozen.
        targets: Token ids [tokens].
        softcap: ``c`` where the model caps logits as ``c * tanh(logits / c)`` (Gemma 2).
        tile_rows: Head rows per tile; None chooses for the device.

    Returns:
        Losses [tokens] in fp32.

    Raises:
        ValueError: the head wants a gradient, or a target is outside the vocabulary.
    """
    if head_weight.requires_grad:
        raise ValueError("linear_cross_entropy is for a frozen head; head_weight must not require a gradient")
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < head_weight.shape[0]:
        raise ValueError(f"a target lies outside the vocabulary of {head_weight.shape[0]} tokens")
    if tile_rows is None:
        tile_rows = _TILE_ROWS_CPU if hidden.device.type == "cpu" else _TILE_ROWS_ACCELERATOR
    with_gradient = hidden.requires_grad and torch.is_grad_enabled()
    losses: Tensor = _LinearCrossEntropy.apply(hidden, head_weight, targets, softcap, tile_rows, with_gradient)  # type: ignore[no-untyped-call]
    return losses


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head_weight: Tensor,
        targets: Tensor,
        softcap: float | None,
        tile_rows: int,
        with_gradient: bool,
    ) -> Tensor:
        # Autocast would convert once more; the products below choose their own dtypes.
        with torch.autocast(hidden.device.type, enabled=False):
            losses, gradient = _losses_and_gradient(
                hidden.to(head_weight.dtype), head_weight, targets, softcap, tile_rows, with_gradient
            )
        if gradient is not None:
            ctx.save_for_backward(gradient.to(hidden.dtype))
        return losses

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return (gradient * output_gradients[0].to(gradient.dtype)[:, None], None, None, None, None, None)


def _losses_and_gradient(
    hidden: Tensor, head_weight: Tensor, targets: Tensor, softcap: float | None, tile_rows: int, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    tokens, width = hidden.shape
    maximum = torch.full((tokens, 1), -torch.inf, device=hidden.device)
    normaliser = torch.zeros((tokens, 1), device=hidden.device)
    weighted = torch.zeros((tokens, width), device=hidden.device) if with_gradient else None
    for tile in head_weight.split(tile_rows):
        logits, slope = _capped((hidden @ tile.T).float(), softcap)
        new_maximum = torch.maximum(maximum, logits.amax(dim=1, keepdim=True))
        rescale = torch.exp(maximum - new_maximum)
        exponential = logits.sub_(new_maximum).exp_()
        normaliser = normaliser * rescale + exponential.sum(dim=1, keepdim=True)
        if weighted is not None:
            weights = exponential if slope is None else exponential * slope
            weighted = weighted * rescale + (weights.to(tile.dtype) @ tile).float()
        maximum = new_maximum
    target_rows = head_weight[targets].float()
    target_logits, target_slope = _capped((hidden.float() * target_rows).sum(dim=1, keepdim=True), softcap)
    losses = (maximum + normaliser.log() - target_logits).squeeze(1)
    if weighted is None:
        return losses, None
    return losses, weighted / normaliser - (target_rows if target_slope is None else target_rows * target_slope)


def _capped(logits: Tensor, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """Capped logits, and the derivative of the cap where there is one."""
    if softcap is None:
        return logits, None
    squashed = torch.tanh(logits / softcap)
    return softcap * squashed, 1 - squashed.square()


class ResponseLoss:
    """The losses of a model's supervised tokens: its decoder, then the head at the supervised positions alone."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._decoder, head = decoder_and_head(model)
        self._head_weight = head.weight
        config = self._decoder.config
        assert isinstance(config, PreTrainedConfig)
        self._softcap: float | None = getattr(config.get_text_config(), "final_logit_softcapping", None)

    def __call__(self, batch: Batch) -> Tensor:
        """The negative log-likelihood [supervised tokens] of each supervised token of ``batch``, in nats and fp32."""
        hidden = self._decoder(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        predicting = hidden.flatten(0, 1)[batch.predicting_positions]
        return linear_cross_entropy(predicting, self._head_weight, batch.targets, softcap=self._softcap)

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
