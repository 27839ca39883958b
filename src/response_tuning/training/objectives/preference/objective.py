"""Preference tuning as an objective: pairs of a response and a worse one, with or without their instruction."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.data.preferences import paired
from response_tuning.example import Example
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import by_example
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import MicroBatch, Unit, shuffled_batches
from response_tuning.training.objectives.contract import DataSets
from response_tuning.training.objectives.preference.kto import Kto
from response_tuning.training.objectives.preference.losses import LOSSES, Pairs
from response_tuning.training.objectives.preference.reference import Reference, RowPair, row_pairs
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Preference", "make_preference"]

_LOGGED = ("accuracy", "margin", "chosen_log_likelihood", "rejected_log_likelihood")


def make_preference(config: TrainingConfig) -> "Preference | Kto":
    """The objective of a ``TrainingConfig`` whose ``--preference-loss`` is given."""
    return Kto(config) if config.preference.preference_loss == "kto" else Preference(config)


class Preference:
    """Makes chosen responses likelier than rejected ones, by one of ``losses.LOSSES``.

    A pair is one unit, so both responses are in one micro-batch. Beside the loss of each step the log has the fraction
    of pairs that are in the right order, the mean margin, and the mean log-likelihood [nats] of chosen and of rejected
    responses: that both fall is the known failure of these losses.
    """

    def __init__(self, config: TrainingConfig) -> None:
        options = config.preference
        name = options.preference_loss
        assert name != "none"
        self._loss = LOSSES[name]
        self._beta = options.beta if options.beta is not None else self._loss.beta
        self._gamma = options.gamma
        self._sft_weight = options.sft_weight if options.sft_weight is not None else self._loss.sft_weight
        self._reference = Reference(config, is_used=self._loss.needs_reference)
        self._pairs: list[Unit] = []

    @property
    def weights(self) -> Mapping[str, float]:
        """See ``Objective``."""
        return {"loss": 1.0, "chosen_loss": self._sft_weight, **dict.fromkeys(_LOGGED, 0.0)}

    @property
    def preparation(self) -> "Preference":
        """The objective itself: it makes pairs of rows, and needs a reference."""
        return self

    reads_verdicts = False
    """See ``Preparation``."""

    @property
    def statistic(self) -> None:
        """See ``Preparation``. None: a pair's loss is its own."""

    def rows(self, examples: Sequence[Example], source: str) -> list[Example]:
        """See ``Preparation``. Each example with its response, then with its rejected one."""
        return paired(examples, source=source)

    def require(self, data_fingerprint: str) -> None:
        """See ``Preparation``. Nothing but the pairs."""

    def prepare(self, examples: DataSets, accelerator: Accelerator) -> None:
        """See ``Preparation``. The reference's log-likelihoods of all responses, held-out ones included."""
        self._reference.compute(examples, accelerator)

    def write(self, run: Path) -> None:
        """See ``Preparation``."""
        self._reference.write(run)

    def arrange(self, encoded: Sequence[EncodedExample], dropped: Sequence[int]) -> list[EncodedExample]:
        """The examples of whole pairs, chosen and rejected in turn."""
        self._pairs = _units(row_pairs(encoded, dropped, self._reference.train))
        say(f"{len(self._pairs)} pairs of a chosen and a rejected response")
        return [example for pair in self._pairs for example in pair.examples]

    def measured(self, held_out: Sequence[EncodedExample], dropped: Sequence[int]) -> list[Unit]:
        """See ``Preparation``. The held-out pairs."""
        return _units(row_pairs(held_out, dropped, self._reference.held_out))

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:  # noqa: ARG002
        """See ``Objective``. ``batch_size`` is a number of pairs."""
        return shuffled_batches(self._pairs, batch_size=batch_size, seed=seed, length=lambda pair: pair.tokens)

    def count(self, unit: Unit) -> dict[str, int]:
        """See ``Objective``."""
        return {"loss": 1, "chosen_loss": unit.examples[0].supervised_count, **dict.fromkeys(_LOGGED, 1)}

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """See ``Objective``. Of each pair, and for "chosen_loss" of each supervised token of its chosen response."""
        rows = micro_batch.batch.rows
        of_tokens = loss_of(micro_batch.batch)
        log_likelihoods = -by_example(of_tokens, micro_batch.batch, count=2 * len(micro_batch.units)).view(-1, 2)
        pairs = Pairs(
            log_likelihoods,
            reference=torch.tensor([unit.note for unit in micro_batch.units], device=rows.device),
            tokens=torch.tensor(
                [[example.supervised_count for example in unit.examples] for unit in micro_batch.units],
                device=rows.device,
            ),
        )
        margins = self._loss.margin(pairs, self._beta)
        seen = log_likelihoods.detach()
        return {
            "loss": self._loss.loss(margins, self._beta, self._gamma),
            "chosen_loss": torch.where(rows % 2 == 0, of_tokens, 0.0),
            "accuracy": (margins.detach() > 0).float(),
            "margin": margins.detach(),
            "chosen_log_likelihood": seen[:, 0],
            "rejected_log_likelihood": seen[:, 1],
        }

    def most_positions(self, supervised: int) -> int:
        """See ``Preparation``. No more than supervised tokens."""
        return supervised


def _units(pairs: Sequence[RowPair | None]) -> list[Unit]:
    """A unit of each pair that is whole, noting the log-likelihoods under the reference."""
    return [Unit(pair.examples, note=pair.reference) for pair in pairs if pair is not None]
