"""``rt quickstart``: base, RT and IT of one model, probed alike, in one table and one report."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.probe.probe import ProbeResult, probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.shared.statistics import Estimate, estimate_over_seeds
from response_tuning.example import require_prompts
from response_tuning.models.load import resolve_model
from response_tuning.runs.folder import check_folder, claim_folder
from response_tuning.study.quickstart_size import SMALL_INSTRUCTIONS, fixed_size, training_data
from response_tuning.study.report import Report, seed_table, write_report
from response_tuning.study.running.run_job import peak_bytes
from response_tuning.study.study_config import QuickstartConfig
from response_tuning.support.files import read_json, write_json
from response_tuning.support.options import Method
from response_tuning.support.progress import say
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Quickstart", "quickstart"]

_METHODS: tuple[Method, ...] = ("rt", "it")
_MAY_GROW = frozenset({"output", "seeds"})

Result = TypeVar("Result")


@dataclass(frozen=True)
class Quickstart:
    """A finished quickstart."""

    estimates: dict[str, dict[str, Estimate]]
    """Of "base", "rt" and "it" by metric, the latter two over all seeds."""
    report: Report


def quickstart(config: QuickstartConfig) -> Quickstart:
    """Import the model, probe it, tune it both ways, probe the runs, and write ``summary.json`` and ``report.html``.

    Re-run to resume: finished stages are skipped. More seeds may be added to a finished quickstart.

    Raises:
        UserError: the folder holds a quickstart with another configuration, or the input of a stage is invalid.
    """
    config, folder = fixed_size(config), config.output
    check_folder(folder, config, ignore=_MAY_GROW)
    for source in (config.data, config.held_out):
        require_prompts(load_examples(source), source=source, purpose="the quickstart")
    say("\n[import]")
    started = time.perf_counter()
    resolve_model(config.model)
    import_seconds = time.perf_counter() - started
    claim_folder(folder, config, ignore=_MAY_GROW)
    stages = _Stages(folder / "stages.json")
    stages.record("import", import_seconds)
    results = {"base": [stages.run("base probe", lambda: probe(_probe_config(config, config.model, folder / "base")))]}
    runs = {"base": ["base"]}
    for seed in range(config.seed, config.seed + config.seeds):
        for method in _METHODS:
            name = method if seed == config.seed else f"{method}-seed-{seed}"
            run, training = folder / name, _training_config(config, method, folder / name, seed)
            stages.run(f"{name} training", partial(train, training))
            result = stages.run(f"{name} probe", partial(probe, _probe_config(config, str(run), run)))
            results.setdefault(method, []).append(result)
            runs.setdefault(method, []).append(name)
    estimates = {name: _over_seeds(of_seeds) for name, of_seeds in results.items()}
    write_json(
        folder / "summary.json",
        {
            **{name: {metric: asdict(value) for metric, value in of.items()} for name, of in estimates.items()},
            "runs": runs,
            "size": config.size,
            "seconds": stages.seconds,
            "peak_memory_bytes": stages.peak_memory_bytes,
        },
    )
    return Quickstart(estimates, write_report(folder))


def _over_seeds(results: Sequence[ProbeResult]) -> dict[str, Estimate]:
    """The estimates of one probe, or those over several seeds."""
    if len(results) == 1:
        return results[0].metrics
    tables = {metric: seed_table([result.rows for result in results], metric) for metric in results[0].metrics}
    return {metric: estimate_over_seeds(table) for metric, table in tables.items() if table[0]}


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
        peak = peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        self._record["peak_memory_bytes"] = max(self.peak_memory_bytes, peak)
        write_json(self._path, self._record)


def _instructions(config: QuickstartConfig) -> int | None:
    """How many of the held-out instructions are asked, the first ones; None for all of them."""
    most = SMALL_INSTRUCTIONS if config.size == "small" else None
    return min((number for number in (config.max_examples, most) if number is not None), default=None)


def _training_config(config: QuickstartConfig, method: Method, output: Path, seed: int) -> TrainingConfig:
    return TrainingConfig(
        output=output,
        method=method,
        model=config.model,
        data=training_data(config),
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        lora_rank=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        batch_size=config.batch_size,
        seed=seed,
    )


def _probe_config(config: QuickstartConfig, model: str, folder: Path) -> ProbeConfig:
    return ProbeConfig(
        model=model,
        data=config.held_out,
        output=folder / "evaluations" / "probe",
        max_examples=_instructions(config),
        cut_at_turn=True,  # as a user would read a base model, which invents further turns
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
    )
