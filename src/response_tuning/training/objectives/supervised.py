"""The usual objective: the cross-entropy of supervised tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.training.batches.batching import MicroBatch, Unit, epoch_batches, units

__all__ = ["Supervised", "make_supervised"]


class Supervised:
    """The mean cross-entropy of a step's supervised tokens."""

    weights: Mapping[str, float] = {"loss": 1.0}
    """See ``Objective``."""
    preparation: None = None
    """See ``Objective``."""

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:
        """See ``Objective``."""
        return [units(batch) for batch in epoch_batches(examples, batch_size=batch_size, seed=seed)]

    def count(self, unit: Unit) -> dict[str, int]:
        """See ``Objective``."""
        return {"loss": unit.supervised_count}

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """See ``Objective``."""
        return {"loss": loss_of(micro_batch.batch)}


def make_supervised(_config: Any) -> Supervised:
    """The objective of a ``TrainingConfig``, whatever its options: it has none of its own."""
    return Supervised()
