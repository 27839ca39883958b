"""What the processor of this machine is, and which of its instructions torch uses."""

import os
import platform
from pathlib import Path

__all__ = ["MATMUL_FEATURES", "has_bf16_instructions", "processor_features", "processor_name", "usable_cores"]

MATMUL_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve", "i8mm")
"""Instructions that decide how fast matmuls are, by the names that Linux has for them."""
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables that keep torch from using instructions that the processor has."""


def processor_name() -> str:
    """The model of the processor, as far as the system tells."""
    names = _cpuinfo().get("model name") or [platform.processor() or platform.machine()]
    return " ".join(names)


def processor_features() -> list[str]:
    """The instructions for matmuls that the processor has (Linux; empty elsewhere), and the limits set for torch."""
    cpuinfo = _cpuinfo()
    flags = {*cpuinfo.get("flags", []), *cpuinfo.get("Features", [])}
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    return [*(feature for feature in MATMUL_FEATURES if feature in flags), *limits]


def has_bf16_instructions() -> bool:
    """Whether the processor multiplies bf16 without emulation; True where that is unknown, so that it is measured."""
    import torch

    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: absent means unknown
    return any(getattr(torch.cpu, name, lambda: True)() for name in checks)


def usable_cores() -> int:
    """The cores that this process may use: a container or ``taskset`` may allow fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo() -> dict[str, list[str]]:
    """The words of each field of the first processor; empty on systems without such a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = [line.split(":", 1) for line in reversed(lines) if ":" in line]
    return {name.strip(): value.split() for name, value in fields}
