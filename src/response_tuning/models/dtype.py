"""The dtype that a device computes fastest in: what ``--dtype auto`` means.

A processor without instructions for bf16 emulates it, at a hundredth of the speed of fp32 and less where that was
measured (docs/performance.md). One that has such instructions may still be faster in fp32. So matmuls in both are timed
once per machine, in about a second, and their rates are kept in the user's cache.
"""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from response_tuning.models.processor import has_bf16_instructions, processor_features, processor_name
from response_tuning.support.files import read_json, write_json
from response_tuning.support.options import Device, Dtype
from response_tuning.support.progress import warn
from response_tuning.support.user_cache import user_cache

if TYPE_CHECKING:
    import torch

__all__ = [
    "DtypeChoice",
    "MatmulRates",
    "choose_dtype",
    "fastest_dtype",
    "fixed_dtype",
    "measure_rates",
    "warn_of_emulation",
    "with_fixed_dtype",
]

_INNER, _COLUMNS = 640, 2048
"""Of the matmul that is measured: a layer of the embedded model."""
_MOST_ROWS = 512
_ROUNDS = 3
_ROUND_SECONDS = 0.12
"""Of each dtype in each round; both are timed in turn, since the speed of a shared machine changes."""
_MUCH_SLOWER = 3.0
"""The factor from which a dtype that was asked for is warned of."""


@dataclass(frozen=True)
class MatmulRates:
    """The best measured rate of each dtype, in GFLOP/s."""

    bfloat16: float
    float32: float


@dataclass(frozen=True)
class DtypeChoice:
    """What "auto" means on a device, and why."""

    dtype: Literal["bfloat16", "float32"]
    reason: str
    rates: MatmulRates | None = None
    """None where the device's features alone decide."""


def with_fixed_dtype(options: Any) -> Any:
    """Options by name, in which a missing or "auto" ``dtype`` is replaced by the one that is fastest here.

    Called before options are validated, so that a configuration names the dtype that it was run with: a run resumes
    as it began, and the same file gives the same result on any machine.
    """
    if not isinstance(options, Mapping):
        return options
    return {**options, "dtype": fixed_dtype(options.get("dtype", "auto"), options.get("device", "auto"))}


def fixed_dtype(dtype: Dtype, device: Device) -> Dtype:
    """``dtype``, or the fastest of ``device`` for "auto"."""
    return fastest_dtype(device) if dtype == "auto" else dtype


def fastest_dtype(device: Device) -> Dtype:
    """bfloat16 or float32, whichever ``device`` computes faster in.

    Raises:
        UserError: the device is not available.
    """
    return choose_dtype(device).dtype


@cache
def choose_dtype(device: Device) -> DtypeChoice:
    """The dtype of "auto" on ``device``: by its features on CUDA, by measured matmuls on a CPU and an Apple GPU.

    Raises:
        UserError: the device is not available.
    """
    from response_tuning.models.device import pick_device

    picked = pick_device(device)
    if picked.type == "cuda":
        return _choose_on_cuda()
    rates = _measured(picked)
    faster: Literal["bfloat16", "float32"] = "bfloat16" if rates.bfloat16 > rates.float32 else "float32"
    emulated = picked.type == "cpu" and not has_bf16_instructions()
    reason = f"matmuls run at {rates.bfloat16:,.1f} GFLOP/s in bfloat16 and {rates.float32:,.1f} in float32"
    return DtypeChoice(faster, reason + (", as this processor emulates bfloat16" if emulated else ""), rates)


@cache
def warn_of_emulation(dtype: Dtype, device: Device) -> None:
    """Warn where ``dtype`` was asked for and is several times slower than the other one on a processor."""
    from response_tuning.models.device import pick_device

    if dtype != "bfloat16" or pick_device(device).type != "cpu" or has_bf16_instructions():
        return
    rates = choose_dtype("cpu").rates
    if rates is not None and rates.float32 > _MUCH_SLOWER * rates.bfloat16:
        warn(
            f"note: this processor emulates bfloat16, at {rates.bfloat16:,.1f} GFLOP/s where float32 has "
            f"{rates.float32:,.1f}. Leave out --dtype, or choose float32."
        )


def _choose_on_cuda() -> DtypeChoice:
    import torch

    # torch counts emulation as support unless told otherwise; an emulated bf16 (before Ampere) is the slower one.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return DtypeChoice("bfloat16", "this GPU multiplies bfloat16 in tensor cores")
    return DtypeChoice("float32", "this GPU has no instructions for bfloat16")


def _measured(device: "torch.device") -> MatmulRates:
    """The rates of a device, from the cache if the machine, its limits and torch are those that were measured."""
    path = _cache_file()
    known = _read(path)
    key = _key(device)
    try:
        return MatmulRates(**known[key])
    except (KeyError, TypeError):
        rates = measure_rates(device)
    with suppress(OSError):  # a cache that cannot be written: measured again next time
        write_json(path, {**known, key: asdict(rates)})
    return rates


def _key(device: "torch.device") -> str:
    import torch

    if device.type != "cpu":
        return f"{device.type} of {platform.platform()}, torch {version('torch')}"
    features = " ".join([*processor_features(), torch.backends.cpu.get_cpu_capability()])
    threads = torch.get_num_threads()
    return f"{processor_name()} {features}, {threads} threads, torch {version('torch')}"


def _cache_file() -> Path:
    return user_cache() / "matmul-rates.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        known = read_json(path)
    except (OSError, json.JSONDecodeError):
        return {}
    return known if isinstance(known, dict) else {}


def measure_rates(device: "torch.device") -> MatmulRates:
    """The rates of a device now, in about a second: the best of several rounds, in which the dtypes take turns."""
    import torch

    rounds = [(_rate(torch.bfloat16, device), _rate(torch.float32, device)) for _ in range(_ROUNDS)]
    narrow, wide = (max(rates) for rates in zip(*rounds, strict=True))
    return MatmulRates(round(narrow, 2), round(wide, 2))


def _rate(dtype: "torch.dtype", device: "torch.device") -> float:
    """GFLOP/s of a matmul, of as many rows as its time allows: an emulated one of many rows would take seconds.

    0 where the device does not know the dtype.
    """
    import torch

    rows, seconds = 4, 0.0
    try:
        weight = torch.randn(_INNER, _COLUMNS, device=device).to(dtype)
        while True:
            hidden = torch.randn(rows, _INNER, device=device).to(dtype)
            seconds = _seconds_of_matmul(hidden, weight)
            if rows >= _MOST_ROWS or seconds > _ROUND_SECONDS / 4:
                break
            rows *= 2
        count = max(1, int(_ROUND_SECONDS / 2 / max(seconds, 1e-6)))
        best = min(seconds, *(_seconds_of_matmul(hidden, weight) for _ in range(count)))
    except (RuntimeError, TypeError):
        return 0.0
    return 2e-9 * rows * _INNER * _COLUMNS / best


def _seconds_of_matmul(hidden: "torch.Tensor", weight: "torch.Tensor") -> float:
    started = perf_counter()
    product = hidden @ weight
    product[0, 0].item()  # waits for an accelerator
    return perf_counter() - started
