"""How much slower training gets beside a program that keeps one core busy, by how its threads wait.

    python benchmarks/neighbour.py
    python benchmarks/neighbour.py --rounds 3 --seconds 30

Every setting trains in its own process, alone and beside a busy loop in turn, so that what else the machine does
disturbs all of them alike.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean

import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from measuring import run_in_own_process
from response_tuning.models.processor import usable_cores
from response_tuning.support.options import Dtype
from train_step import BenchmarkConfig as TrainingBenchmark

_TRAINING = str(Path(__file__).parent / "train_step.py")
_BUSY = "while True: pass"
WAITING = {
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "rt's": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
"""How threads wait for each other, as OpenMP's variables say it."""


class BenchmarkConfig(BaseModel):
    """Measure training alone and beside a busy loop, for every way in which threads wait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "embedded"
    """The base model."""
    examples: int = Field(default=96, ge=1)
    """How many of the starter rows, from the first."""
    seconds: float = Field(default=20.0, gt=0)
    """How long each measurement trains after its warm-up."""
    rounds: int = Field(default=1, ge=1)
    """How often everything is measured."""
    busy: int = Field(default=1, ge=1)
    """Busy loops beside the training."""
    threads: int = Field(default_factory=usable_cores, ge=1)
    """Threads of the training."""
    dtype: Dtype = "auto"
    """The dtype of the training."""


def main() -> None:
    """Measure, and print a line for every way of waiting."""
    config = tyro.cli(BenchmarkConfig)
    training = TrainingBenchmark(
        model=config.model, examples=(config.examples,), seconds=config.seconds, dtype=config.dtype, device="cpu"
    )
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(config.rounds):
        for waiting, variables in WAITING.items():
            for neighbours in (0, config.busy):
                environment = {"OMP_NUM_THREADS": str(config.threads), **variables}
                with _busy_loops(neighbours):
                    result = run_in_own_process(_TRAINING, "ours, packed", training, environment=environment)
                rates.setdefault((waiting, neighbours), []).append(result["supervised_tokens_per_second"])
    table = Table("threads wait", "tokens/s alone", f"beside {config.busy} busy", "slower by")
    for waiting in WAITING:
        alone, beside = (mean(rates[waiting, neighbours]) for neighbours in (0, config.busy))
        table.add_row(waiting, f"{alone:.1f}", f"{beside:.1f}", f"{alone / beside:.2f}x")
    console = Console(width=100)
    console.print(table)
    console.print(f"{config.threads} threads, {usable_cores()} cores. {config}", highlight=False)


@contextmanager
def _busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


if __name__ == "__main__":
    main()
