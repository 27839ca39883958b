"""``rt doctor``: its option, and the machine as a table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from rich.table import Table

    from response_tuning.models.machine import Machine
    from response_tuning.support.packages import Package

__all__ = ["DoctorConfig", "doctor_table"]

_EXTRAS = {
    "excel": "workbooks (.xlsx) as training data",
    "rate": "rt rate",
    "ray": "studies on a Ray cluster",
    "slurm": "studies on a Slurm cluster",
    "core": "rt eval core",
    "cut-cross-entropy": "--loss-kernel cut-cross-entropy (CUDA)",
    "embedded": "the model 'embedded'",
    "hub": "data sets of the hub and Parquet files",
    "inspect": "judges and refiners of providers",
    "liger": "--loss-kernel liger (CUDA)",
    "llama-cpp": "the proof of a GGUF export",
    "personal-data": "rt data feedback drops names and addresses (Presidio)",
    "plot": "plots as images",
    "serve": "rt serve",
    "mlflow": "--tracker mlflow",
    "tensorboard": "--tracker tensorboard",
    "trackio": "--tracker trackio",
    "wandb": "--tracker wandb",
    "qlora": "--tuning qlora, --optimizer paged",
}


class DoctorConfig(BaseModel):
    """Describe this machine, what the program chooses on it and why, and what is installed.

    The first time, matmuls are timed for about a second.

    For example:
        rt doctor
        rt doctor --json
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of a table."""


def doctor_table(machine: "Machine") -> "Table":
    """Everything about a machine; what is missing or too old is marked with "!"."""
    from rich.table import Table

    table = Table("", "this machine", show_lines=False)
    for name, text in _rows(machine):
        table.add_row(name, text)
    return table


def _rows(machine: "Machine") -> Iterator[tuple[str, str]]:
    yield "system", f"{machine.system}, Python {machine.python}"
    yield "processor", f"{machine.processor}: {', '.join(machine.features) or 'features unknown'}"
    load = "" if machine.load is None else f"; load {machine.load}"
    yield "cores", f"{machine.cores} usable, {machine.threads} threads in torch{load}"
    yield "memory", f"{_size(machine.available_memory_bytes)} of {_size(machine.memory_bytes)} available"
    yield "torch", f"{machine.torch} for {machine.torch_build}"
    for device in machine.devices:
        memory = "" if device.memory_bytes is None else f", {_size(device.memory_bytes)}"
        yield f"device {device.device}", device.name + memory + ("  (--device auto)" if device.is_default else "")
        yield "  --dtype auto", f"{device.dtype}: {device.reason}"
    yield "packages", _packages(machine.packages)
    for extra, packages in machine.extras.items():
        yield f"extra {extra}", f"{_packages(packages)}  ({_EXTRAS.get(extra, 'see pyproject.toml')})"
    for cache in machine.caches:
        yield "cache", f"{cache.path}: {_size(cache.bytes)} of {cache.holds}; {_size(cache.free_bytes)} free"
    yield "working folder", f"{_size(machine.working_folder_free_bytes)} free"
    if machine.environment:
        yield "environment", ", ".join(f"{name}={value}" for name, value in machine.environment.items())


def _packages(packages: Sequence["Package"]) -> str:
    """That all are installed in versions that fit, or which are not."""
    wrong = [
        f"! {package.name}{package.wanted} ({package.installed or 'not installed'})"
        for package in packages
        if not package.fits
    ]
    return ", ".join(wrong) or ("installed" if packages else "not for this system")


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
