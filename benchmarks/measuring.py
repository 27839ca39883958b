"""What the benchmarks share: rows, a process for each setting, a function's peak memory, and the machine's peak."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict

from response_tuning.data.sources.fields import Fields
from response_tuning.data.sources.load_examples import SourceOptions, load_examples, read_rows
from response_tuning.example import Example, Row
from response_tuning.models.dtype import fixed_dtype
from response_tuning.support.files import write_json
from response_tuning.support.options import Device, Dtype
from response_tuning.training.planning.timing import matmul_rates

__all__ = [
    "ProductPeak",
    "SettingsOptions",
    "extra_memory",
    "first_examples",
    "measure_settings",
    "published_examples",
    "run_in_own_process",
]

_OTHER_FIELDS = (Fields("output", "instruction", "input"), Fields("response", "instruction", "context"))
"""As Alpaca and Dolly were published."""
_PRODUCTS_SECONDS = 0.6


def first_examples(sources: Sequence[str], counts: Sequence[int]) -> list[Example]:
    """The first rows of each source, as many as ``counts`` says."""
    chosen = zip(sources, counts, strict=True)
    return [example for source, count in chosen for example in published_examples(source)[:count]]


def published_examples(source: str) -> list[Example]:
    """The examples of ``source``, as for ``rt train``, or of a file with Alpaca's or Dolly's fields."""
    for fields in _OTHER_FIELDS if Path(source).is_file() else ():
        rows = read_rows(source, SourceOptions(fields=fields))
        if good := [row.example for row in rows if isinstance(row, Row)]:
            return good
    return load_examples(source)


def run_in_own_process(
    script: str,
    setting: str,
    config: BaseModel,
    *,
    environment: Mapping[str, str] | None = None,
    seconds_at_most: float | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Measure one setting with ``script --setting=...``; its last line is the result, in JSON.

    Args:
        script: The benchmark to run.
        setting: One of its settings.
        config: Its options.
        environment: Variables to set for the process, beside those of this one.
        seconds_at_most: How long the process may take.
        changes: Options that differ from ``config``.

    Raises:
        subprocess.CalledProcessError: it failed, and has printed why.
        subprocess.TimeoutExpired: it took too long.
    """
    options = config.model_dump(mode="json", exclude_none=True, exclude={"output", "setting"}) | changes
    arguments = []
    for name, value in options.items():
        if isinstance(value, bool):
            arguments += [f"--{name.replace('_', '-')}"] if value else []
            continue
        if value == []:
            continue
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    print(f"measuring: {setting}", file=sys.stderr, flush=True)
    process = subprocess.run(
        [sys.executable, script, *arguments, "--setting", setting],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=seconds_at_most,
        env={**os.environ, **(environment or {})},
    )
    result: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    print(f"  {result}", file=sys.stderr, flush=True)
    return result


class SettingsOptions(BaseModel):
    """The options of a benchmark that measures several settings, each in its own process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device = "auto"
    """Where to train."""
    lora_rank: int = 16
    """The rank of the adapter matrices; alpha is twice that."""
    settings: tuple[str, ...] = ()
    """Measure these settings only, by the names that the table has for them; all of them if none is given."""
    output: Path | None = None
    """A JSON file for the numbers."""
    setting: str | None = None
    """Measure this one setting in this process, and print its numbers as JSON."""
    dtype: Dtype = "auto"
    """The dtype of settings that do not have one of their own. auto: the faster one of the device, as in rt train."""


Options = TypeVar("Options", bound=SettingsOptions)


def measure_settings(
    script: str,
    config: Options,
    settings: Mapping[str, Callable[[Options], dict[str, Any]]],
    *,
    show: Callable[[dict[str, Any]], None],
    about: Callable[[Options], dict[str, Any]],
) -> int:
    """Measure all settings one after the other and show them, or one of them in this process.

    Args:
        script: The benchmark.
        config: Its options.
        settings: What to measure, by name, in order.
        show: Prints the report.
        about: What the report says beside results, options and versions.

    Returns:
        The exit code of the benchmark.
    """
    config = config.model_copy(update={"dtype": fixed_dtype(config.dtype, config.device)})
    if config.setting is not None:
        print(json.dumps(settings[config.setting](config)))
        return 0
    try:
        versions = {package: version(package) for package in ("torch", "transformers", "peft", "trl")}
    except ModuleNotFoundError as error:
        print(f"{error}. Install it: pip install 'response-tuning[benchmark]'", file=sys.stderr)
        return 2
    chosen = [name for name in settings if not config.settings or name in config.settings]
    options = config.model_copy(update={"settings": ()})
    report = {
        "results": {name: run_in_own_process(script, name, options) for name in chosen},
        "config": config.model_dump(mode="json"),
        "versions": versions,
        **about(config),
    }
    show(report)
    if config.output is not None:
        write_json(config.output, report)
    return 0


class ProductPeak:
    """The matmul peak of a dtype, measured in short intervals between the work that is compared with it.

    A machine's speed changes, and what disturbs the work disturbs the matmuls as well.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype = torch.bfloat16, *, seconds: float = _PRODUCTS_SECONDS
    ) -> None:
        self._device = device
        self._seconds = seconds
        self._dtype = dtype
        self._rates: list[list[float]] = []

    def measure(self) -> None:
        """Time matmuls of several shapes, for 0.6 seconds unless told otherwise."""
        self._rates.append(matmul_rates(self._device, self._dtype, seconds=self._seconds))

    @property
    def flops(self) -> float:
        """The mean rate of the best shape, in operations per second."""
        peak: float = max(map(mean, zip(*self._rates, strict=True)))
        return peak


def extra_memory(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that ``work`` holds at any moment, beyond what is held when it begins.

    On the CPU that is the memory of the process: what the libraries cache is counted.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size starts again from the present one
    before = _resident_bytes("VmRSS")
    work()
    return _resident_bytes("VmHWM") - before


def _resident_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
