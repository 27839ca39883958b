"""The perplexity of every training example at the end of each epoch: the course of a training in numbers.

A later training decides by them which examples are learned easily (Xiao et al. 2024, arXiv 2410.05248).
They are a few bytes for each example, so a run of full fine-tuning can keep them where copies of its weights would not
fit.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import gather_object
from peft.helpers import disable_input_dtype_casting
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.inference.score import by_example
from response_tuning.support.files import read_json_lines, write_json_lines
from response_tuning.training.batches.batching import IDLE, MicroBatch, Unit
from response_tuning.training.batches.packing import split
from response_tuning.training.observers.contract import Step
from response_tuning.training.parallel.processes import own_part
from response_tuning.training.step import Training

__all__ = ["Perplexities", "kept_perplexities", "perplexity"]

_FILE = "perplexities.jsonl"
_LARGEST_EXPONENT = 700.0
"""A double holds e to the power of this."""


def perplexity(loss: float, tokens: int) -> float:
    """Of a response with a summed loss in nats, its stop token included; the largest number where it overflows."""
    return math.exp(min(loss / tokens, _LARGEST_EXPONENT))


def kept_perplexities(run: Path) -> list[list[float | None]]:
    """The perplexity of each row of a run's data, in their order, at each point that the run kept; empty without any.

    None stands for a row that the run dropped.
    """
    path = run / _FILE
    columns = [row["perplexities"] for row in read_json_lines(path)] if path.is_file() else []
    return [list(row) for row in zip(*columns, strict=True)]


class Perplexities:
    """Measures them after the last step of each epoch; a training that stops early has those of whole epochs alone.

    Args:
        training: The training.
        rows: Every row of its data, in order; None for one that is dropped.
        run: The run's folder.
        every: The steps of an epoch.
    """

    def __init__(self, training: Training, rows: Sequence[EncodedExample | None], run: Path, *, every: int) -> None:
        self._training = training
        self._units = [Unit((row,), note=number) for number, row in enumerate(rows) if row is not None]
        self._count = len(rows)
        self._path = run / _FILE
        self._every = every

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        steps = step.progress.steps
        if steps % self._every:
            return
        measured = self._measure()
        if not self._training.strategy.accelerator.is_main_process:
            return
        earlier = read_json_lines(self._path) if self._path.is_file() else []
        row = {"step": steps, "perplexities": [measured.get(number) for number in range(self._count)]}
        # A resumed training repeats the steps after its checkpoint.
        write_json_lines(self._path, [*(each for each in earlier if each["step"] < steps), row])

    def _measure(self) -> dict[int, float]:
        """Of each row by its number, from 0; each process measures its part. Nothing random is drawn."""
        training, strategy = self._training, self._training.strategy
        accelerator, loss_of = strategy.accelerator, ResponseLoss(training.model)
        own = own_part(self._units, process=accelerator.process_index, processes=accelerator.num_processes)
        work = list(split(own, tokens=training.config.batches.tokens_at_once, packed=training.packed))
        measured: dict[int, float] = {}
        training.model.eval()
        with torch.no_grad(), disable_input_dtype_casting(training.model):
            for micro_batch, _ in strategy.passes(work, IDLE, training=False):
                here = MicroBatch(micro_batch.batch.to(accelerator.device), micro_batch.units)
                with training.autocast:
                    sums = strategy.compute(partial(_sums, loss_of, here))["loss"].tolist()
                for unit, loss in zip(here.units, sums[: len(here.units)], strict=True):
                    assert isinstance(unit.note, int)
                    measured[unit.note] = perplexity(loss, unit.supervised_count)
        training.model.train()
        parts: list[dict[int, float]] = gather_object([measured])
        return {number: value for part in parts for number, value in part.items()}


def _sums(loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
    batch = micro_batch.batch
    return {"loss": by_example(loss_of(batch), batch, count=max(1, len(micro_batch.units)))}
