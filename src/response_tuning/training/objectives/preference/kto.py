"""KTO: preference tuning on single responses, each of them desirable or not (Ethayarajh et al. 2024, arXiv 2402.01306).

With a response's gain ``r`` over the reference, in nats, the loss of a desirable one is ``1 - sigmoid(beta (r - z))``,
and that of another ``1 - sigmoid(beta (z - r))`` (equation 8). ``z``, never negative, estimates how far the model has
moved from the reference: the mean gain of mismatched responses, each the response of the next row to the row's own
prompt. It is a constant of the step, computed over the whole of it, so a step is the same however it is split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.data.preferences import is_desirable, mismatched
from response_tuning.example import Example
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import by_example
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import MicroBatch, Unit, shuffled_batches
from response_tuning.training.objectives.contract import DataSets
from response_tuning.training.objectives.preference.reference import Reference, RowPair, row_pairs
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Kto", "MeanGain"]

_BETA = 0.1
_LOGGED = ("divergence", "desirable_gain", "undesirable_gain")


@dataclass(frozen=True)
class _Note:
    """What is known about a response."""

    desirable: bool
    reference: float
    """Its log-likelihood under the reference, in nats."""
    mismatched: Unit | None
    """The next row's response to its prompt; None of one that is itself mismatched."""


class MeanGain:
    """The mean gain of a step's mismatched responses: a ``Statistic``."""

    def __init__(self) -> None:
        self.mean = 0.0

    def units(self, batch: Sequence[Unit]) -> list[Unit]:
        """See ``Statistic``."""
        return [unit.note.mismatched for unit in batch if isinstance(unit.note, _Note) and unit.note.mismatched]

    def values(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> Tensor:
        """See ``Statistic``."""
        return _gains(loss_of(micro_batch.batch), micro_batch)

    def use(self, mean: float) -> None:
        """See ``Statistic``. Never negative."""
        self.mean = max(0.0, mean)


class Kto:
    """Makes desirable responses likelier and others less likely, in comparison to a reference."""

    def __init__(self, config: TrainingConfig) -> None:
        options = config.preference
        self._beta = options.beta if options.beta is not None else _BETA
        self._sft_weight = options.sft_weight or 0.0
        self._statistic = MeanGain()
        self._desirable: tuple[list[bool], list[bool]] = ([], [])
        self._reference = Reference(config)
        self._units: list[Unit] = []

    @property
    def weights(self) -> Mapping[str, float]:
        """See ``Objective``."""
        return {"loss": 1.0, "desirable_loss": self._sft_weight, **dict.fromkeys(_LOGGED, 0.0)}

    @property
    def preparation(self) -> "Kto":
        """The objective itself."""
        return self

    reads_verdicts = True
    """See ``Preparation``."""

    @property
    def statistic(self) -> MeanGain:
        """See ``Preparation``."""
        return self._statistic

    def rows(self, examples: Sequence[Example], source: str) -> list[Example]:
        """See ``Preparation``. Each example, and its prompt with another response."""
        return mismatched(examples, source=source)

    def require(self, data_fingerprint: str) -> None:
        """See ``Preparation``. Nothing but the rows."""

    def prepare(self, examples: DataSets, accelerator: Accelerator) -> None:
        """See ``Preparation``. The reference's log-likelihoods of all responses."""
        self._desirable = (
            [is_desirable(example) for example in examples.train[::2]],
            [is_desirable(example) for example in examples.held_out[::2]],
        )
        self._reference.compute(examples, accelerator)

    def write(self, run: Path) -> None:
        """See ``Preparation``."""
        self._reference.write(run)

    def arrange(self, encoded: Sequence[EncodedExample], dropped: Sequence[int]) -> list[EncodedExample]:
        """The examples whose own and mismatched responses are both left."""
        self._units = _units(row_pairs(encoded, dropped, self._reference.train), self._desirable[0])
        say(f"{len(self._units)} responses, of which {_desirable_count(self._units)} are desirable")
        return [example for unit in self._units for example in unit.examples]

    def measured(self, held_out: Sequence[EncodedExample], dropped: Sequence[int]) -> list[Unit]:
        """See ``Preparation``. Held-out responses; the divergence is that of the last step."""
        return _units(row_pairs(held_out, dropped, self._reference.held_out), self._desirable[1])

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:  # noqa: ARG002
        """See ``Objective``."""
        return shuffled_batches(self._units, batch_size=batch_size, seed=seed, length=lambda unit: unit.tokens)

    def count(self, unit: Unit) -> dict[str, int]:
        """See ``Objective``."""
        desirable = _note(unit).desirable
        return {
            "loss": 1,
            "desirable_loss": unit.supervised_count if desirable else 0,
            "divergence": 1,
            "desirable_gain": int(desirable),
            "undesirable_gain": int(not desirable),
        }

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        """See ``Objective``. Of each response, and for "desirable_loss" of each of their supervised tokens."""
        of_tokens = loss_of(micro_batch.batch)
        gains = _gains(of_tokens, micro_batch)
        desirable = torch.tensor([_note(unit).desirable for unit in micro_batch.units], device=gains.device)
        signs = torch.where(desirable, 1.0, -1.0)
        seen = gains.detach()
        return {
            "loss": 1 - torch.sigmoid(self._beta * signs * (gains - self._statistic.mean)),
            "desirable_loss": torch.where(desirable[micro_batch.batch.rows], of_tokens, 0.0),
            "divergence": torch.full_like(seen, self._statistic.mean),
            "desirable_gain": torch.where(desirable, seen, 0.0),
            "undesirable_gain": torch.where(desirable, 0.0, seen),
        }

    def most_positions(self, supervised: int) -> int:
        """See ``Preparation``. No more than supervised tokens."""
        return supervised


def _gains(of_tokens: Tensor, micro_batch: MicroBatch) -> Tensor:
    """[units] What each unit's response gained over the reference, in nats."""
    losses = by_example(of_tokens, micro_batch.batch, count=len(micro_batch.units))
    return -losses - torch.tensor([_note(unit).reference for unit in micro_batch.units], device=losses.device)


def _note(unit: Unit) -> _Note:
    assert isinstance(unit.note, _Note)
    return unit.note


def _desirable_count(units: Sequence[Unit]) -> int:
    return sum(_note(unit).desirable for unit in units)


def _units(pairs: Sequence[RowPair | None], desirable: Sequence[bool]) -> list[Unit]:
    """A unit of each response, noting the mismatched one, where both are left."""
    units = []
    for pair, is_good in zip(pairs, desirable, strict=True):
        if pair is not None:
            (own, other), (of_own, of_other) = pair.examples, pair.reference
            beside = Unit((other,), _Note(is_good, of_other, None))
            units.append(Unit((own,), _Note(is_good, of_own, beside)))
    return units
