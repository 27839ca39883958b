"""How likely a model finds given responses. Nothing trains here."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate, length_sorted_groups
from response_tuning.inference.prefix_cache import PrefixCache
from response_tuning.inference.processed_score import processed_log_likelihoods
from response_tuning.inference.responder import Responder
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.shared_prompts import losses_of_row, rows_after_prefix, shared_rows
from response_tuning.support.progress import Bar

__all__ = ["by_example", "example_losses", "log_likelihoods", "mean_log_likelihoods"]


@torch.inference_mode()
def example_losses(
    model: nn.Module,
    encoded: Sequence[EncodedExample],
    *,
    batch_tokens: int,
    bar: Bar | None = None,
    prefix: PrefixCache | None = None,
) -> list[float]:
    """The negative log-likelihood of all supervised tokens together (stop token counted), in nats, of each example.

    Where several examples have the same prompt, it is computed once (``inference.shared_prompts``), and so is a prefix
    that all prompts share. The others are computed in length-sorted batches. Each batch has at most ``batch_tokens``
    padded tokens; full logits are never held.
    """
    losses: dict[int, float] = {}
    for indices, totals in _totals(model, encoded, batch_tokens=batch_tokens, prefix=prefix):
        losses |= zip(indices, totals.tolist(), strict=True)
        if bar is not None:
            bar.advance(len(indices))
    return [losses[index] for index in range(len(encoded))]


def _totals(
    model: nn.Module, encoded: Sequence[EncodedExample], *, batch_tokens: int, prefix: PrefixCache | None
) -> Iterator[tuple[list[int], Tensor]]:
    """The losses of a few examples at a time, with their indices."""
    loss_of = ResponseLoss(model)
    device = next(model.parameters()).device
    after_prefix = None if prefix is None else rows_after_prefix(prefix, encoded, tokens=batch_tokens)
    prefix = None if after_prefix is None else prefix
    rows, others = (after_prefix, []) if after_prefix else shared_rows(model, encoded, tokens=batch_tokens)
    for row in rows:
        yield row.indices, by_example(losses_of_row(model, loss_of, row, prefix), row.batch, count=len(row.indices))
    for group in length_sorted_groups([encoded[index] for index in others], tokens=batch_tokens):
        indices = [others[index] for index in group]
        batch = collate([encoded[index] for index in indices])
        yield indices, by_example(loss_of(batch.to(device)), batch, count=len(indices))


def by_example(losses: Tensor, batch: Batch, *, count: int) -> Tensor:
    """Losses of a batch's supervised tokens, summed for each of its ``count`` examples."""
    sums = torch.zeros(count, device=losses.device)
    return sums.index_add(0, batch.rows.to(losses.device), losses)


def log_likelihoods(
    responder: Responder, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The log-likelihood [nats] of all supervised tokens together (stop token counted) of each example.

    As the run generates: after its logits processors, and with its prefix computed once.

    Raises:
        PromptTooLongError: a prompt and its response do not fit the model's context.
    """
    responder.require_scored_fit(encoded)
    if responder.processors is not None:
        return processed_log_likelihoods(responder, encoded, bar=bar)
    model, prefix = responder.loaded.model, responder.prefix_cache
    return [-loss for loss in example_losses(model, encoded, batch_tokens=batch_tokens, bar=bar, prefix=prefix)]


def mean_log_likelihoods(
    responder: Responder, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The same as ``log_likelihoods``, per supervised token."""
    totals = log_likelihoods(responder, encoded, batch_tokens=batch_tokens, bar=bar)
    return [total / example.supervised_count for total, example in zip(totals, encoded, strict=True)]
