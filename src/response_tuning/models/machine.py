"""What this machine is, what the program chooses on it and why, and what is installed: the facts of ``rt doctor``."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from response_tuning.models.dtype import MatmulRates, choose_dtype
from response_tuning.models.processor import processor_features, processor_name, usable_cores
from response_tuning.support.options import Device
from response_tuning.support.packages import Package, extras, required_packages
from response_tuning.support.user_cache import size_bytes, user_cache

__all__ = ["CacheFolder", "ComputeDevice", "Machine", "describe_machine"]

_VARIABLES = (
    *("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "CUDA_VISIBLE_DEVICES"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "HF_HOME", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"),
    "RESPONSE_TUNING_ASSETS",
)
"""Those that decide speed or places; their values are no secrets."""


@dataclass(frozen=True, kw_only=True)
class ComputeDevice:
    """A device that models can run on, and the dtype of ``--dtype auto`` there."""

    device: Device
    name: str
    memory_bytes: int | None
    is_default: bool
    dtype: str
    reason: str
    rates: MatmulRates | None
    """In GFLOP/s, where they were measured."""


@dataclass(frozen=True)
class CacheFolder:
    """A folder of files that can be made or downloaded again."""

    path: str
    holds: str
    bytes: int
    free_bytes: int
    """Of the disk that it is on."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Everything that ``rt doctor`` reports."""

    system: str
    processor: str
    features: list[str]
    cores: int
    """That this process may use."""
    threads: int
    """That torch uses."""
    load: float | None
    """Processes that wanted a core, on average over the last minute."""
    memory_bytes: int
    available_memory_bytes: int
    python: str
    torch: str
    torch_build: str
    """The accelerator that torch was built for, and the instructions that it uses on the processor."""
    devices: list[ComputeDevice]
    packages: list[Package]
    extras: dict[str, list[Package]]
    caches: list[CacheFolder]
    working_folder_free_bytes: int
    environment: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain values by the names of the fields."""
        return asdict(self)


def describe_machine() -> Machine:
    """Collect the facts; matmuls are timed for a second if this machine was not measured yet."""
    import torch

    memory = psutil.virtual_memory()
    return Machine(
        system=platform.platform(),
        processor=processor_name(),
        features=processor_features(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        memory_bytes=memory.total,
        available_memory_bytes=memory.available,
        python=platform.python_version(),
        torch=version("torch"),
        torch_build=_torch_build(),
        devices=list(_devices()),
        packages=required_packages(),
        extras=extras(),
        caches=list(_caches()),
        working_folder_free_bytes=shutil.disk_usage(Path.cwd()).free,
        environment={name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )


def _torch_build() -> str:
    import torch

    accelerator = f"CUDA {torch.version.cuda}" if torch.version.cuda else None
    accelerator = accelerator or (f"ROCm {torch.version.hip}" if torch.version.hip else "CPU")
    return f"{accelerator}, {torch.backends.cpu.get_cpu_capability()}"


def _devices() -> Iterator[ComputeDevice]:
    import torch

    from response_tuning.models.device import pick_device

    default = pick_device("auto").type
    found: list[tuple[Device, str, int | None]] = []
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        found.append(("cuda", f"{count} x {properties.name}", properties.total_memory))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU", torch.mps.recommended_max_memory()))
    found.append(("cpu", processor_name(), psutil.virtual_memory().total))
    for device, name, memory in found:
        choice = choose_dtype(device)
        yield ComputeDevice(
            device=device,
            name=name,
            memory_bytes=memory,
            is_default=device == default,
            dtype=choice.dtype,
            reason=choice.reason,
            rates=choice.rates,
        )


def _caches() -> Iterator[CacheFolder]:
    from huggingface_hub.constants import HF_HUB_CACHE

    ours = user_cache()
    for path, holds in ((ours, "imported models, data files, matmul rates"), (Path(HF_HUB_CACHE), "the hub's models")):
        yield CacheFolder(str(path), holds, size_bytes(path), shutil.disk_usage(_nearest_existing(path)).free)


def _nearest_existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())
