"""How likely a model finds given responses. Nothing trains here."""

from collections.abc import Sequence

import torch
from torch import nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import collate, length_sorted_groups
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.load import LoadedModel
from response_tuning.support.progress import Bar

__all__ = ["example_losses", "log_likelihoods", "mean_log_likelihoods"]


@torch.inference_mode()
def example_losses(
    model: nn.Module, encoded: Sequence[EncodedExample], *, batch_tokens: int, bar: Bar | None = None
) -> list[float]:
    """The negative log-likelihood of all supervised tokens together (stop token counted), in nats, of each example.

    Computed in length-sorted batches of at most ``batch_tokens`` padded tokens; full logits are never held.
    """
    loss_of = ResponseLoss(model)
    device = next(model.parameters()).device
    losses = [0.0] * len(encoded)
    for group in length_sorted_groups(encoded, tokens=batch_tokens):
        batch = collate([encoded[index] for index in group]).to(device)
        sums = torch.zeros(len(group), device=device).index_add(0, batch.rows, loss_of(batch))
        for index, total in zip(group, sums.tolist(), strict=True):
            losses[index] = total
        if bar is not None:
            bar.advance(len(group))
    return losses


def log_likelihoods(
    loaded: LoadedModel, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The log-likelihood of all supervised tokens together (stop token counted), in nats, of each example."""
    return [-loss for loss in example_losses(loaded.model, encoded, batch_tokens=batch_tokens, bar=bar)]


def mean_log_likelihoods(
    loaded: LoadedModel, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The same as ``log_likelihoods``, per supervised token."""
    totals = log_likelihoods(loaded, encoded, batch_tokens=batch_tokens, bar=bar)
    return [total / example.supervised_count for total, example in zip(totals, encoded, strict=True)]
