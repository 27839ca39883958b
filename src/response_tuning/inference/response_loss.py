"""The loss of a model's supervised tokens: its decoder, then the head at the supervised positions only."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedConfig

from response_tuning.inference.batch import Batch, padding_to_round
from response_tuning.kernels.linear_cross_entropy import capped, linear_cross_entropy, trained_linear_cross_entropy
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.support.options import LossKernel

__all__ = ["ResponseLoss"]


class ResponseLoss:
    """The losses of a model's supervised tokens, and the parts that they are made of.

    Full logits are never held: ``loss(batch)`` is ``cross_entropy(hidden_states(batch), batch.targets)``, and an
    objective that needs something else composes it from the same parts.
    """

    def __init__(self, model: nn.Module, *, label_smoothing: float = 0.0, kernel: LossKernel = "auto") -> None:
        self._model = model
        self._decoder, head = decoder_and_head(model)
        self._head = head  # not its weight, which is another tensor while it is gathered from several processes
        self.label_smoothing = label_smoothing
        self._kernel = kernel
        config = self._decoder.config
        assert isinstance(config, PreTrainedConfig)
        self._softcap: float | None = getattr(config.get_text_config(), "final_logit_softcapping", None)

    def __call__(self, batch: Batch) -> Tensor:
        """The loss [supervised tokens] of each supervised token of ``batch``, in nats and fp32.

        Without label smoothing, that is its negative log-likelihood.
        """
        return self.cross_entropy(self.hidden_states(batch), batch.targets)

    def hidden_states(self, batch: Batch) -> Tensor:
        """The final hidden states [supervised tokens, hidden] that the supervised tokens are predicted from."""
        # Without an attention mask, and only so, positions that restart keep the examples of a packed row apart.
        packed = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
        hidden: Tensor = self._decoder(input_ids=batch.input_ids, use_cache=False, **packed).last_hidden_state
        return hidden.flatten(0, 1)[batch.predicting_positions]

    def cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The loss [tokens] of predicting ``targets`` [tokens] from the hidden states [tokens, hidden]."""
        head_weight = self._head.weight
        trains = head_weight.requires_grad and torch.is_grad_enabled()
        cross_entropy_of = trained_linear_cross_entropy if trains else linear_cross_entropy
        count, padding = len(targets), padding_to_round(len(targets))
        losses = cross_entropy_of(
            nn.functional.pad(hidden, (0, 0, 0, padding)),
            head_weight if trains else head_weight.detach(),
            nn.functional.pad(targets, (0, padding)),
            softcap=self._softcap,
            label_smoothing=self.label_smoothing,
            kernel=self._kernel,
        )
        return losses[:count]

    def logits_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The logits [sets, tokens] of several sets of targets [sets, tokens], rounded as the losses round theirs."""
        device, head_weight = hidden.device.type, self._head.weight
        narrow = head_weight.requires_grad and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if narrow else head_weight.dtype
        rows = nn.functional.embedding(targets, head_weight).to(dtype).float()
        return capped((hidden.to(dtype).float() * rows).sum(dim=-1), self._softcap)[0]

    @torch.no_grad()
    def check(self, batch: Batch) -> None:
        """Refuse a model that computes its logits in a way unknown to this loss (a scale, a bias, another head).

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
