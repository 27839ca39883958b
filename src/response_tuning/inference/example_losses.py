"""The loss of each example by itself, under a model as it is: nothing trains here."""

from collections.abc import Sequence

import torch
from torch import nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.progress import Bar
from response_tuning.training.batches.batching import collate, length_sorted_groups

__all__ = ["example_losses"]


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
