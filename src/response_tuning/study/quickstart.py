"""``rt quickstart``: base, RT and IT of one model, probed alike, in one table and one report."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.probe.probe import ProbeResult, probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.example import require_prompts
from response_tuning.models.load import resolve_model
from response_tuning.runs.folder import check_folder, claim_folder
from response_tuning.study.report import write_report
from response_tuning.study.study_config import QuickstartConfig
from response_tuning.support.files import read_json, write_json
from response_tuning.support.options import Method
from response_tuning.support.progress import say
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

__all__ = ["quickstart"]

_METHODS: tuple[Method, ...] = ("rt", "it")

Result = TypeVar("Result")


def quickstart(config: QuickstartConfig) -> dict[str, ProbeResult]:
    """Import the model, probe it, tune it both ways, probe both runs, and write ``summary.json`` and ``report.html``.

    Re-run to resume: finished stages are skipped.

    Returns:
        The probe results of "base", "rt" and "it".

    Raises:
        UserError: the folder holds a quickstart with another configuration, or the input of a stage is invalid.
    """
    folder = config.output
    check_folder(folder, config)
    for source in (config.data, config.held_out):
        require_prompts(load_examples(source), source=source, purpose="the quickstart")
    say("\n[import]")
    started = time.perf_counter()
    resolve_model(config.model)
    import_seconds = time.perf_counter() - started
    claim_folder(folder, config)
    stages = _Stages(folder / "stages.json")
    stages.record("import", import_seconds)
    results = {"base": stages.run("base probe", lambda: probe(_probe_config(config, config.model, folder / "base")))}
    for method in _METHODS:
        run, training = folder / method, _training_config(config, method)
        stages.run(f"{method} training", partial(train, training))
        results[method] = stages.run(f"{method} probe", partial(probe, _probe_config(config, str(run), run)))
    write_json(
        folder / "summary.json",
        {
            **{name: _as_json(result) for name, result in results.items()},
            "seconds": stages.seconds,
            "peak_memory_bytes": stages.peak_memory_bytes,
        },
    )
    write_report(folder)
    return results


class _Stages:
    """Runs stages, and records the time of each across restarts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._record: dict[str, Any] = read_json(path) if path.exists() else {"seconds": {}, "peak_memory_bytes": 0}

    @property
    def seconds(self) -> dict[str, float]:
        return dict(self._record["seconds"])

    @property
    def peak_memory_bytes(self) -> int:
        return int(self._record["peak_memory_bytes"])

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Run a stage. The work itself returns at once if it is already done."""
        say(f"\n[{name}]")
        started = time.perf_counter()
        result = work()
        self.record(name, time.perf_counter() - started)
        return result

    def record(self, name: str, seconds: float) -> None:
        """Record the time of a stage. A resumed stage keeps its first time, since it is skipped now."""
        self._record["seconds"].setdefault(name, round(seconds, 1))
        self._record["peak_memory_bytes"] = max(self.peak_memory_bytes, _peak_memory_bytes())
        write_json(self._path, self._record)


def _as_json(result: ProbeResult) -> dict[str, Any]:
    return {metric: asdict(estimate) for metric, estimate in result.metrics.items()}


def _training_config(config: QuickstartConfig, method: Method) -> TrainingConfig:
    return TrainingConfig(
        output=config.output / method,
        method=method,
        model=config.model,
        data=config.data,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        lora_rank=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        batch_size=config.batch_size,
        seed=config.seed,
    )


def _probe_config(config: QuickstartConfig, model: str, folder: Path) -> ProbeConfig:
    return ProbeConfig(
        model=model,
        data=config.held_out,
        output=folder / "evaluations" / "probe",
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
