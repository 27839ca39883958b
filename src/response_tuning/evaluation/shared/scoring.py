"""How likely a model finds given responses."""

from collections.abc import Sequence

from response_tuning.conversation import EncodedExample
from response_tuning.inference.example_losses import example_losses
from response_tuning.models.load import LoadedModel
from response_tuning.support.progress import Bar

__all__ = ["log_likelihoods", "mean_log_likelihoods"]


def log_likelihoods(
    loaded: LoadedModel, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The log-likelihood of all supervised tokens together (stop token counted), in nats, of each example.

    Computed in length-sorted batches of at most ``batch_tokens`` padded tokens; full logits are never held.
    """
    return [-loss for loss in example_losses(loaded.model, encoded, batch_tokens=batch_tokens, bar=bar)]


def mean_log_likelihoods(
    loaded: LoadedModel, encoded: Sequence[EncodedExample], *, batch_tokens: int = 2048, bar: Bar | None = None
) -> list[float]:
    """The same as ``log_likelihoods``, per supervised token."""
    totals = log_likelihoods(loaded, encoded, batch_tokens=batch_tokens, bar=bar)
    return [total / example.supervised_count for total, example in zip(totals, encoded, strict=True)]
