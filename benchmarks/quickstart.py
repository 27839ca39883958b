"""The quickstart by stage: seconds, and how much of the processor's matmul peak each training and probe uses.

    python benchmarks/quickstart.py
    python benchmarks/quickstart.py --folder runs/quickstart     (one that has run already)

``rt quickstart`` runs in its own process and a new folder, from the import on. Afterwards matmuls are timed in the
dtype that was chosen, so on a shared machine fractions are rough.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from measuring import ProductPeak
from response_tuning.models.dtype import choose_dtype
from response_tuning.models.load import load_model_config
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import read_values
from response_tuning.support.files import read_json, read_json_lines, write_json
from response_tuning.training.planning.plan import count_parameters
from response_tuning.training.training_config import AdapterOptions, MemoryOptions, TrainingConfig

_PEAK_ROUNDS = 5


class BenchmarkConfig(BaseModel):
    """Measure the stages of the quickstart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path | None = None
    """A quickstart that has run; without, one is run in a temporary folder."""
    options: tuple[str, ...] = ()
    """More options of rt quickstart, each as --name=value."""
    minutes: float = Field(default=120, gt=0)
    """How long it may take."""
    output: Path | None = None
    """A JSON file for the numbers."""


def main() -> None:
    """Run it if there is none, and print a line for each stage."""
    config = tyro.cli(BenchmarkConfig)
    if config.folder is not None:
        report = _report(config.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "response_tuning", "quickstart", "--output", folder, *config.options]
            subprocess.run(command, check=True, timeout=60 * config.minutes)
            report = _report(Path(folder))
    _print(report)
    if config.output is not None:
        write_json(config.output, report)


def _report(folder: Path) -> dict[str, Any]:
    summary = read_json(folder / "summary.json")
    choice = choose_dtype("cpu")
    peak = ProductPeak(torch.device("cpu"), getattr(torch, choice.dtype))
    for _ in range(_PEAK_ROUNDS):
        peak.measure()
    stages = [
        {"stage": name, "seconds": seconds, **_training(folder, name, peak.flops)}
        for name, seconds in summary["seconds"].items()
    ]
    return {
        "stages": stages,
        "total_seconds": sum(summary["seconds"].values()),
        "peak_flops": peak.flops,
        "peak_memory_bytes": summary["peak_memory_bytes"],
        "dtype": choice.dtype,
        "reason": choice.reason,
        "threads": torch.get_num_threads(),
    }


def _training(folder: Path, stage: str, peak: float) -> dict[str, Any]:
    """Supervised tokens per second of a training, and its fraction of the peak; nothing for another stage."""
    method, _, kind = stage.partition(" ")
    if kind != "training":
        return {}
    run = RunDirectory(folder / method)
    last = read_json_lines(run.training_log)[-1]
    data = read_json(run.data_report)
    config = TrainingConfig(**read_values(run.config, TrainingConfig))
    parameters = count_parameters(
        load_model_config(config.model),
        AdapterOptions(lora_rank=config.adapter.lora_rank),
        MemoryOptions(dtype=config.memory.dtype),
    )
    supervised = data["supervised_tokens"]
    tokens_for_each = (supervised + data["prompt_tokens"]) / supervised
    rate = last["supervised_tokens"] / last["seconds"]
    flops = 4 * ((parameters.layers + parameters.trained) * tokens_for_each + parameters.head) * rate
    return {"supervised_tokens_per_second": rate, "fraction_of_peak": flops / peak}


def _print(report: dict[str, Any]) -> None:
    table = Table("stage", "seconds", "supervised tokens/s", "of the matmul peak")
    for stage in report["stages"]:
        rate, fraction = stage.get("supervised_tokens_per_second"), stage.get("fraction_of_peak")
        rate_text, fraction_text = ("" if rate is None else f"{rate:.0f}"), ("" if rate is None else f"{fraction:.0%}")
        table.add_row(stage["stage"], f"{stage['seconds']:,.0f}", rate_text, fraction_text)
    table.add_row("all", f"{report['total_seconds']:,.0f}", "", f"{report['peak_flops'] / 1e9:,.0f} GFLOP/s")
    console = Console(width=100)
    console.print(table)
    console.print(
        f"{report['dtype']} ({report['reason']}), {report['threads']} threads, "
        f"{report['peak_memory_bytes'] / 1e9:.1f} GB at most",
        highlight=False,
    )


if __name__ == "__main__":
    main()
