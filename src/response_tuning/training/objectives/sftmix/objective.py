"""SFTMix as an objective: supervised tokens, and mixtures of easily and hardly learned examples beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import MicroBatch, Unit
from response_tuning.training.objectives.contract import DataSets
from response_tuning.training.objectives.sftmix.confidence import (
    confidences,
    halves,
    perplexities,
    require_reference,
    write_confidences,
)
from response_tuning.training.objectives.sftmix.mixtures import mix, mixed_count, mixtures_of, paired_batches
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Sftmix"]


class Sftmix:
    """The cross-entropy of supervised tokens, and that of mixtures as a regulariser (``mixtures``).

    Its confident examples are those that a reference run was sure of (``confidence``).
    """

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._perplexities: list[list[float | None]] = []

    @property
    def weights(self) -> Mapping[str, float]:
        """See ``Objective``."""
        return {"loss": 1.0, "mixture_loss": self._config.sftmix.sftmix_weight}

    @property
    def preparation(self) -> "Sftmix":
        """The objective itself: it needs confidences, and arranges the examples by them."""
        return self

    reads_verdicts = False
    """See ``Preparation``."""

    @property
    def statistic(self) -> None:
        """See ``Preparation``. None."""

    def rows(self, examples: Sequence[Example], source: str) -> list[Example]:  # noqa: ARG002
        """See ``Preparation``. They themselves."""
        return list(examples)

    def require(self, data_fingerprint: str) -> None:
        """See ``Preparation``."""
        require_reference(self._config, data_fingerprint)

    def prepare(self, examples: DataSets, accelerator: Accelerator) -> None:
        """See ``Preparation``."""
        self._perplexities = perplexities(self._config, examples.fingerprint, examples.train, accelerator)

    def write(self, run: Path) -> None:
        """See ``Preparation``."""
        write_confidences(run, self._perplexities)

    def arrange(self, encoded: Sequence[EncodedExample], dropped: Sequence[int]) -> list[EncodedExample]:
        """The confident half, then the unconfident one."""
        rows_dropped = set(dropped)
        certainty = enumerate(confidences(self._perplexities), start=1)
        kept = [self._known(row, value) for row, value in certainty if row not in rows_dropped]
        confident, unconfident = halves(encoded, kept)
        say(f"mixtures of {len(confident)} confident and {len(unconfident)} unconfident examples")
        return [*confident, *unconfident]

    def _known(self, row: int, confidence: float | None) -> float:
        if confidence is None:
            raise UserError(
                f"Row {row} has no perplexity: {self._config.sftmix.sftmix_from} dropped it. Use its --max-length and "
                "--overlong."
            )
        return confidence

    def measured(self, held_out: Sequence[EncodedExample], dropped: Sequence[int]) -> None:
        """See ``Preparation``. Mixtures regularise training; what is measured is the likelihood."""

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:
        """See ``Objective``."""
        half = len(examples) // 2
        options = self._config.sftmix
        return paired_batches(
            examples[:half],
            examples[half:],
            batch_size=batch_size,
            alpha=options.sftmix_alpha,
            seed=seed,
            by_length=options.sftmix_pairing == "length",
        )

    def count(self, unit: Unit) -> dict[str, int]:
        """See ``Objective``."""
        return {"loss": unit.supervised_count, "mixture_loss": mixed_count(unit)}

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """The loss of each supervised token and of each mixture, in one pass over the head.

        With coefficients ``a`` and ``1 - a`` of two targets, and logits ``z``, a mixture's loss is ``logsumexp(z) -
        a z[first] - (1 - a) z[second]``: that of the first target alone, and ``(1 - a) (z[first] - z[second])``.
        """
        batch, mixtures = micro_batch.batch, mixtures_of(micro_batch.units)
        device = batch.input_ids.device
        if mixtures is None:
            return {"loss": loss_of(batch), "mixture_loss": torch.zeros(0, device=device)}
        mixtures, hidden = mixtures.to(device), loss_of.hidden_states(batch)
        mixed, first, second = mix(hidden, mixtures), batch.targets[mixtures.first], batch.targets[mixtures.second]
        losses = loss_of.cross_entropy(torch.cat((hidden, mixed)), torch.cat((batch.targets, first)))
        own, of_first = losses.split([len(hidden), len(mixed)])
        logits = loss_of.logits_at(mixed, torch.stack((first, second)))
        aimed = (1 - loss_of.label_smoothing) * (1 - mixtures.coefficient)
        return {"loss": own, "mixture_loss": of_first + aimed * (logits[0] - logits[1])}

    def most_positions(self, supervised: int) -> int:
        """Beside the supervised tokens at most half as many mixtures."""
        return supervised + supervised // 2
