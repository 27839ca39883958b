"""What an objective is: the batches of a step, and their losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from accelerate import Accelerator
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.training.batches.batching import MicroBatch, Unit

__all__ = ["DataSets", "Objective", "Preparation", "Statistic"]


@dataclass(frozen=True)
class DataSets:
    """The examples of a training, as they were read."""

    train: list[Example]
    held_out: list[Example]
    fingerprints: dict[str, str]
    """Of both, by their names in the data report."""

    @property
    def fingerprint(self) -> str:
        """That of the examples to train on."""
        return self.fingerprints["data_fingerprint"]


class Objective(Protocol):
    """What a step trains on, and its losses.

    A step's value of each loss is its sum over the step divided by its count over the step, whatever micro-batches and
    processes the step is split into. The smallest example, a focal loss (Lin et al. 2017, arXiv 1708.02002)::

        class Focal:
            weights = {"loss": 1.0}
            preparation = None

            def batches(self, examples, *, batch_size, seed):
                return [units(batch) for batch in epoch_batches(examples, batch_size=batch_size, seed=seed)]

            def count(self, unit):
                return {"loss": unit.supervised_count}

            def losses(self, loss_of, micro_batch):
                losses = loss_of(micro_batch.batch)
                return {"loss": losses * (1 - torch.exp(-losses.detach()))}

        register("focal", lambda config: Focal())
    """

    @property
    def weights(self) -> Mapping[str, float]:
        """What each loss contributes to the gradient, by its name in the training log; 0: it is only logged.

        The first is called "loss". The order is that of the log.
        """

    @property
    def preparation(self) -> "Preparation | None":
        """What the objective needs besides the examples, or None."""

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> Sequence[Sequence[Unit]]:
        """The optimizer steps of one epoch, as many in every epoch.

        They follow from the arguments alone, so that a training can be resumed.

        Args:
            examples: All examples to train on.
            batch_size: Examples per step.
            seed: A different one for each epoch.
        """

    def count(self, unit: Unit) -> Mapping[str, int]:
        """How many items of each loss a unit has, such as its supervised tokens."""

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> Mapping[str, Tensor]:
        """Each loss [items] of each of its items, in nats where it is a likelihood."""


class Statistic(Protocol):
    """A number that the losses of a step depend on as a whole: the mean of a value over units of its own.

    It is computed without gradients, over the whole step, before the first of its micro-batches.
    """

    def units(self, batch: Sequence[Unit]) -> list[Unit]:
        """The units that it is the mean over, as many as the step has."""

    def values(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> Tensor:
        """The value [units] of each unit of a micro-batch."""

    def use(self, mean: float) -> None:
        """Take the mean for the losses of this step."""


class Preparation(Protocol):
    """What an objective needs besides the examples. A training calls the methods in this order."""

    @property
    def reads_verdicts(self) -> bool:
        """Whether it wants examples that the data mark as undesirable; they are refused otherwise."""

    @property
    def statistic(self) -> Statistic | None:
        """What the losses of a step depend on as a whole, or None."""

    def rows(self, examples: Sequence[Example], source: str) -> list[Example]:
        """What is encoded for the examples of ``source``: they themselves, or several for each, such as both of a pair.

        Raises:
            UserError: an example lacks what the objective needs; the message names it.
        """

    def require(self, data_fingerprint: str) -> None:
        """Validate what it needs, before processes are started or models loaded.

        Args:
            data_fingerprint: Of the examples, as they were read.

        Raises:
            UserError: something is missing; the message names what to do.
        """

    def prepare(self, examples: "DataSets", accelerator: Accelerator) -> None:
        """Compute what it needs, before the model is loaded; every process calls it."""

    def write(self, run: Path) -> None:
        """Write what it computed into the run's folder, so that a resumed training need not compute it again."""

    def arrange(self, encoded: Sequence[EncodedExample], dropped: Sequence[int]) -> list[EncodedExample]:
        """All encoded examples, in the order that ``batches`` expects.

        Args:
            encoded: The examples that are left, in the order of the data.
            dropped: Row numbers, from 1, of those that are not.
        """

    def measured(self, held_out: Sequence[EncodedExample], dropped: Sequence[int]) -> list[Unit] | None:
        """What the objective's losses of held-out examples are computed on; None if their likelihood is measured.

        Args:
            held_out: The encoded examples that are left, in the order of the data.
            dropped: Row numbers, from 1, of those that are not.
        """

    def most_positions(self, supervised: int) -> int:
        """The most hidden states that the losses of that many supervised tokens are computed from, for a plan."""
