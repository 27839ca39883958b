"""The dtype that a device multiplies fastest in: what ``--dtype auto`` means.

A processor without instructions for bf16 emulates it, at a two-hundredth of the speed of fp32 where that was measured
(docs/log.md). One with such instructions may still be faster in fp32, so both are measured, once per machine.
"""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from response_tuning.support.files import read_json, write_json
from response_tuning.support.options import Device, Dtype

if TYPE_CHECKING:
    import torch

__all__ = ["fastest_dtype", "fixed_dtype", "with_fixed_dtype"]

_SHAPE = (512, 640, 2048)
"""Rows, inner and columns of the matmul that is measured: a layer of the embedded model."""
_SECONDS = 0.2


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


@cache
def fastest_dtype(device: Device) -> Dtype:
    """bfloat16 or float32, whichever ``device`` multiplies faster in.

    Raises:
        UserError: the device is not available.
    """
    import torch

    from response_tuning.models.device import pick_device

    picked = pick_device(device).type
    if picked == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return _fastest_on_cpu() if picked == "cpu" else "bfloat16"


def _fastest_on_cpu() -> Dtype:
    """Measured in less than a second, and kept in the user's cache by processor and version of torch."""
    if platform.machine() in ("x86_64", "AMD64") and not _has_bf16_instructions():
        return "float32"  # not measured: a single emulated matmul would take seconds
    path = _cache_file()
    known = _read(path)
    key = f"{_processor()}, torch {version('torch')}"
    if key not in known:
        import torch

        known[key] = "bfloat16" if _rate(torch.bfloat16) > _rate(torch.float32) else "float32"
        with suppress(OSError):  # a cache that cannot be written: measured again next time
            write_json(path, known)
    return "bfloat16" if known[key] == "bfloat16" else "float32"


def _cache_file() -> Path:
    return user_cache_path("response-tuning", appauthor=False) / "dtypes.json"


def _read(path: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = read_json(path)
    except (OSError, json.JSONDecodeError):
        return {}
    return known


def _processor() -> str:
    """The model of the processor and its instructions for bf16, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    said = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    fields = {name.strip(): value.split() for name, value in said.items()}
    flags = sorted({"amx_bf16", "avx512_bf16", "bf16"} & set(fields.get("flags", fields.get("Features", []))))
    return " ".join([*fields.get("model name", [platform.machine()]), *flags])


def _has_bf16_instructions() -> bool:
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: absent means unknown, so measure
    return any(getattr(torch.cpu, name, lambda: True)() for name in checks)


def _rate(dtype: "torch.dtype") -> float:
    """Matmuls per second."""
    import torch

    rows, inner, columns = _SHAPE
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    torch.matmul(left, right)  # warm-up
    count, started = 0, perf_counter()
    while perf_counter() - started < _SECONDS:
        torch.matmul(left, right)
        count += 1
    return count / (perf_counter() - started)
