"""The loss of a model's supervised tokens: its decoder, then the head at the supervised positions only."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from response_tuning.inference.batch import Batch, padding_to_round
from response_tuning.kernels.linear_cross_entropy import capped, linear_cross_entropy, trained_linear_cross_entropy
from response_tuning.kernels.varlen_attention import packed_arguments
from response_tuning.models.heads import decoder_and_head, logit_cap, logit_scale
from response_tuning.support.errors import UserError
from response_tuning.support.options import LossKernel

if TYPE_CHECKING:
    from transformers.cache_utils import Cache

__all__ = ["ResponseLoss"]

_CLOSE = 1e-4
_WIDENED_ROWS = 8192


class ResponseLoss:
    """The losses of a model's supervised tokens, and the parts that they are made of.

    Full logits are never held: ``loss(batch)`` is ``cross_entropy(hidden_states(batch), batch.targets)``, and an
    objective that needs something else composes it from the same parts.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0, kernel: LossKernel = "auto") -> None:
        self._model = model
        self._decoder, head = decoder_and_head(model)
        self._head = head  # not its weight, which is another tensor while it is gathered from several processes
        self._scale = logit_scale(model)
        self.label_smoothing = label_smoothing
        self._kernel = kernel
        self._softcap = logit_cap(model)

    def __call__(self, batch: Batch) -> Tensor:
        """The loss [supervised tokens] of each supervised token of ``batch``, in nats and fp32.

        Without label smoothing, that is its negative log-likelihood.
        """
        return self.cross_entropy(self.hidden_states(batch), batch.targets)

    def hidden_states(self, batch: Batch, cache: "Cache | None" = None) -> Tensor:
        """The final hidden states [supervised tokens, hidden] that the supervised tokens are predicted from.

        Args:
            batch: the rows.
            cache: keys and values of what precedes the rows, whose positions the batch's continue.
        """
        # Without an attention mask, and only so, positions that restart keep the examples of a packed row apart.
        options: dict[str, Any] = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
        if cache is not None:
            options["past_key_values"] = cache
        with packed_arguments(self._decoder, batch.lengths, batch.input_ids.device) as bounds:
            output = self._decoder(input_ids=batch.input_ids, use_cache=cache is not None, **options, **bounds)
        hidden: Tensor = output.last_hidden_state
        return hidden.flatten(0, 1)[batch.predicting_positions]

    def cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The loss [tokens] of predicting ``targets`` [tokens] from the hidden states [tokens, hidden]."""
        head_weight, bias = self._head.weight, self._head.bias
        trains = head_weight.requires_grad and torch.is_grad_enabled()
        cross_entropy_of = trained_linear_cross_entropy if trains else linear_cross_entropy
        count, padding = len(targets), padding_to_round(len(targets))
        losses = cross_entropy_of(
            nn.functional.pad(self._scaled(hidden), (0, 0, 0, padding)),
            head_weight if trains else head_weight.detach(),
            nn.functional.pad(targets, (0, padding)),
            bias=bias if trains or bias is None else bias.detach(),
            softcap=self._softcap,
            label_smoothing=self.label_smoothing,
            kernel=self._kernel,
        )
        return losses[:count]

    def logits_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The logits [sets, tokens] of several sets of targets [sets, tokens], rounded as the losses round theirs."""
        device, head_weight, bias = hidden.device.type, self._head.weight, self._head.bias
        narrow = head_weight.requires_grad and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if narrow else head_weight.dtype
        rows = nn.functional.embedding(targets, head_weight).to(dtype).float()
        logits = (self._scaled(hidden).to(dtype).float() * rows).sum(dim=-1)
        return capped(logits if bias is None else logits + bias[targets].float(), self._softcap)[0]

    def _scaled(self, hidden: Tensor) -> Tensor:
        return hidden if self._scale == 1 else hidden * self._scale

    @torch.no_grad()
    def check(self, batch: Batch) -> None:
        """Refuse a model that computes its logits in a way unknown to this loss (another scale, cap or head).

        The model's own logits and the losses here start from the same hidden states, and are compared per token in
        fp32, whatever the dtype of the model.

        Raises:
            UserError: the model's own logits give another loss of a token of ``batch``.
        """
        own = self._own_losses(batch)
        hidden = self._scaled(self.hidden_states(batch).float())
        weight = self._head.weight.detach()
        bias = None if self._head.bias is None else self._head.bias.detach()
        ours = linear_cross_entropy(
            hidden, weight, batch.targets, bias=bias, softcap=self._softcap, dtype=torch.float32
        )
        if torch.allclose(ours, own, rtol=_CLOSE, atol=_CLOSE):
            self._check_kernel(batch, ours)
            return
        worst = int((ours - own).abs().nan_to_num(torch.inf).argmax())
        raise UserError(
            f"{type(self._model).__name__} makes its logits in a way that is not supported here "
            f"(the loss of a token is {ours[worst]:.4f} where the model's own logits give {own[worst]:.4f})."
        )

    def _check_kernel(self, batch: Batch, exact: Tensor) -> None:
        """Refuse a library's kernel that gives another mean loss, which its own rounding moves by far less."""
        if self._kernel not in ("auto", "tiles") and not self.label_smoothing:
            mean = self(batch).mean()
            if not torch.isclose(mean, exact.mean(), rtol=0.02, atol=0.02):
                raise UserError(
                    f"--loss-kernel {self._kernel} gives a loss of {mean:.3f} on this device, where "
                    f"{exact.mean():.3f} is right. Leave it out."
                )

    def _own_losses(self, batch: Batch) -> Tensor:
        """The losses [supervised tokens] by the model's own forward pass, whose head and what follows are in fp32."""
        widened = self._decoder.register_forward_hook(_with_wide_hidden_states)
        head_forward, head = self._head.forward, self._head
        vars(head)["forward"] = lambda hidden: _wide_linear(hidden, head.weight, head.bias)
        try:
            logits: Tensor = self._model(input_ids=batch.input_ids, use_cache=False).logits
        finally:
            widened.remove()
            vars(head).pop("forward", None)
            if head.forward != head_forward:  # it had been replaced before
                vars(head)["forward"] = head_forward
        own = logits.flatten(0, 1)[batch.predicting_positions].float()
        return cross_entropy(own, batch.targets, reduction="none")


def _with_wide_hidden_states(_decoder: nn.Module, _inputs: object, output: Any) -> Any:
    """The decoder's output with its final hidden states in fp32."""
    output.last_hidden_state = output.last_hidden_state.float()
    return output


def _wide_linear(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Logits in fp32, in parts: the head as a whole in fp32 would take twice its memory."""
    hidden = hidden.float()
    parts = [hidden @ part.float().T for part in weight.split(_WIDENED_ROWS)]
    logits = torch.cat(parts, dim=-1)
    return logits if bias is None else logits + bias.float()
