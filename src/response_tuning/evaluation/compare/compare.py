"""Runs side by side: the metrics on the same prompts, and the paired differences to the first run.

Everything is read from the folders of the evaluations, ``evaluations/TASK/``:

    metrics.json                        ``settings``, what the results depend on; ``format``, the chat format
    responses.jsonl or samples.jsonl    a row per prompt with ``prompt`` or ``instruction``; ``task``, if an evaluation
                                        has several sets; and ``values``: per metric a number, or numerator and
                                        denominator if the metric is a ratio of sums

Rows are paired by content: by the prompt, and by the reference that its values depend on, whatever their files are
called. Prompts that only some of the runs have are excluded and counted. A row without a metric is excluded from that
metric.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from response_tuning.evaluation.compare.compare_config import CompareConfig
from response_tuning.evaluation.compare.compare_report import write_comparison
from response_tuning.evaluation.compare.comparison import Comparison, MetricComparison, TaskComparison
from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.identity import defaults_of, result_settings
from response_tuning.evaluation.shared.prompt_values import Prompt, PromptValues, Ratio, prompt_values, rows_file
from response_tuning.evaluation.shared.statistics import (
    Estimate,
    estimate_difference,
    estimate_mean,
    estimate_ratio,
    holm,
    paired_p_value,
)
from response_tuning.evaluation.token_shift.shift_report import TOKEN_SHIFT, shift_views
from response_tuning.models.fingerprint import is_of_same_model
from response_tuning.models.spec import is_local
from response_tuning.runs.folder import RunDirectory, evaluation_folder
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines, write_json
from response_tuning.support.progress import warn

__all__ = ["compare"]

_PLACES_OF_DATA = frozenset(
    {
        *("data", "data_dir", "prompts", "annotations", "difficulty", "anchors"),
        *("tasks", "sets", "max_examples", "confidence", "wanted_quality", "format"),
    }
)
"""Settings that may differ between runs: the prompts, of which the common ones count, and the model's chat format."""
_REFERENCE = "reference"
"""A setting of judged comparisons. Where rows hold the reference's response, they are compared by it."""


@dataclass(frozen=True)
class _Evaluation:
    folder: Path
    settings: dict[str, Any]
    chat_format: str
    rows: list[dict[str, Any]]


def compare(config: CompareConfig) -> Comparison:
    """Compare the evaluations of several runs, and write the result to ``config.output`` and ``config.report``.

    Raises:
        UserError: there is only one run, a run is given twice or was never evaluated, no evaluation is common to all,
            two runs are one model, or the runs were evaluated with different settings.
    """
    runs = _names(config.runs)
    found = {name: _evaluations(spec) for name, spec in runs.items()}
    _require_different(runs, found)
    every = list(dict.fromkeys(task for tasks in found.values() for task in sorted(tasks)))
    missing = {task: [name for name in runs if task not in found[name]] for task in every}
    common = [task for task in config.tasks or every if not missing.get(task, [*runs])]
    if not common or len(common) < len(config.tasks):
        raise UserError(_nothing_to_compare(config, found))
    read = {task: {name: _read(found[name][task], spec) for name, spec in runs.items()} for task in common}
    tasks = {task: _compare_task(task, measured, p_values=config.p_values) for task, measured in read.items()}
    comparison = Comparison(
        runs, tasks, {task: lacking for task, lacking in missing.items() if lacking and not config.tasks}
    )
    if config.output is not None:
        write_json(config.output, asdict(comparison))
    if config.report is not None:
        folders = {name: found[name][TOKEN_SHIFT] for name in runs if TOKEN_SHIFT in found[name]}
        write_comparison(comparison, config.report, shifts=shift_views(folders))
    return comparison


def _names(specs: Sequence[str]) -> dict[str, str]:
    """Short names for runs: the last part of the path, or all of it where two are equal."""
    if len(specs) < 2:
        raise UserError("Name at least two runs: rt compare RUN RUN [RUN ...]")
    if len({Path(spec) for spec in specs}) < len(specs):
        raise UserError("A run is given twice: a comparison needs different ones.")
    ends = Counter(Path(spec).name for spec in specs)
    return {Path(spec).name if ends[Path(spec).name] == 1 else spec: spec for spec in specs}


def _evaluations(spec: str) -> dict[str, Path]:
    """The folders of a run's finished evaluations, by task."""
    beside = Path(spec) / "evaluations"
    folder = beside if beside.is_dir() else evaluation_folder(spec, "any").parent
    found = {path.parent.name: path.parent for path in sorted(folder.glob("*/metrics.json"))}
    if not found:
        raise UserError(
            f"Nothing was measured on {spec} yet: {folder} holds no evaluation. Begin with: {command('probe', spec)}"
        )
    return found


def _nothing_to_compare(config: CompareConfig, found: Mapping[str, Mapping[str, Path]]) -> str:
    wanted = f"--tasks {' '.join(config.tasks)} is not there" if config.tasks else "There is no evaluation"
    return "\n  ".join(
        [f"{wanted} for all of the runs:", *(f"{name} has {', '.join(tasks)}" for name, tasks in found.items())]
    )


def _require_different(runs: Mapping[str, str], found: Mapping[str, Mapping[str, Path]]) -> None:
    """Two specs of one model have the same results, and their difference would say nothing."""
    folders: dict[Path, str] = {}
    for name, tasks in found.items():
        for path in tasks.values():
            other = folders.setdefault(path.resolve(), name)
            if other != name:
                raise UserError(
                    f"{runs[other]} and {runs[name]} are the same model: both have their results in {path.parent}. A "
                    "comparison needs different ones."
                )


def _read(folder: Path, spec: str) -> _Evaluation:
    metrics = read_json(folder / "metrics.json")
    if RunDirectory(Path(spec)).is_complete and not is_of_same_model(metrics.get("fingerprint"), spec):
        warn(f"{spec} changed since {folder} was made: it has other weights or rules. Evaluate it again.")
    path = rows_file(folder)
    rows = [] if path is None else read_json_lines(path)
    if path is None or not all("values" in row for row in rows):
        raise UserError(f"{folder} has no values per prompt to compare; an older version made it. Evaluate again.")
    return _Evaluation(folder, metrics.get("settings", {}), metrics.get("format") or "", rows)


def _compare_task(task: str, measured: Mapping[str, _Evaluation], *, p_values: bool) -> TaskComparison:
    registered = evaluations().get(task)
    _check_settings(task, measured, {} if registered is None else defaults_of(registered.config))
    values = {name: prompt_values(evaluation.rows) for name, evaluation in measured.items()}
    first, *others = values.values()
    common = [prompt for prompt in first if all(prompt in other for other in others)]
    if not common:
        raise UserError(f"The {task} evaluations of {', '.join(values)} have no prompt in common.")
    if registered is not None and registered.compares_whole_sets:
        _check_same_set(task, measured)
    metrics = dict.fromkeys(metric for prompt in common for metric in first[prompt])
    scales = {} if registered is None else registered.scales
    compared = {metric: _compare_metric(metric, common, values, scales.get(metric)) for metric in metrics}
    shown = {metric: comparison for metric, comparison in compared.items() if comparison is not None}
    if p_values:
        shown = _with_p_values(shown, common, values)
    return TaskComparison(
        prompts=len(common),
        left_out={name: len(prompts) - len(common) for name, prompts in values.items()},
        formats={name: evaluation.chat_format for name, evaluation in measured.items()},
        metrics=shown,
    )


def _compare_metric(
    metric: str, prompts: Sequence[Prompt], values: Mapping[str, PromptValues], scale: tuple[float, float] | None
) -> MetricComparison | None:
    """The metric on the prompts for which every run has a value; None if there are none."""
    ratios = _ratios(metric, prompts, values)
    first, *others = ratios
    if not ratios[first]:
        return None
    return MetricComparison(
        {name: _estimate(sample, scale) for name, sample in ratios.items()},
        {name: estimate_difference(ratios[name], ratios[first], bounds=scale) for name in others},
    )


def _ratios(metric: str, prompts: Sequence[Prompt], values: Mapping[str, PromptValues]) -> dict[str, list[Ratio]]:
    having = [prompt for prompt in prompts if all(metric in rows[prompt] for rows in values.values())]
    return {name: [rows[prompt][metric] for prompt in having] for name, rows in values.items()}


def _with_p_values(
    metrics: Mapping[str, MetricComparison], prompts: Sequence[Prompt], values: Mapping[str, PromptValues]
) -> dict[str, MetricComparison]:
    """With p values, adjusted for all metrics and runs of the evaluation."""
    raw: dict[tuple[str, str], float] = {}
    for metric in metrics:
        first, *others = _ratios(metric, prompts, values).items()
        raw |= {(metric, name): paired_p_value(sample, first[1]) for name, sample in others}
    adjusted = dict(zip(raw, holm([*raw.values()]), strict=True))
    return {
        metric: replace(of, p_values={name: round(adjusted[metric, name], 6) for name in of.differences})
        for metric, of in metrics.items()
    }


def _estimate(ratios: Sequence[Ratio], scale: tuple[float, float] | None) -> Estimate:
    parts, wholes = zip(*ratios, strict=True)
    return estimate_mean(parts, bounds=scale) if set(wholes) == {1.0} else estimate_ratio(parts, wholes)


def _check_settings(task: str, evaluations: Mapping[str, _Evaluation], defaults: Mapping[str, Any]) -> None:
    """Settings that change a result are equal; one that an older version did not know counts as its default."""
    free = set(_PLACES_OF_DATA)
    if all(_REFERENCE in row for evaluation in evaluations.values() for row in evaluation.rows):
        free.add(_REFERENCE)
    # A server decides its own dtype: that of a run in this process has nothing to be compared with.
    if not all(is_local(str(each.settings.get("model", ""))) for each in evaluations.values()):
        free.add("dtype")
    settings = {
        name: result_settings(evaluation.settings, defaults=defaults, without=free)
        for name, evaluation in evaluations.items()
    }
    names = dict.fromkeys(name for each in settings.values() for name in each)
    different = []
    for setting in names:
        given = {name: each.get(setting) for name, each in settings.items()}
        if any(value != next(iter(given.values())) for value in given.values()):
            different.append(f"{setting}: " + ", ".join(f"{value} in {name}" for name, value in given.items()))
    if different:
        raise UserError(
            f"The {task} evaluations were made with different settings:\n  " + "\n  ".join(different) + "\n"
            "Evaluate again with the same ones, or choose other evaluations with --tasks."
        )


def _check_same_set(task: str, evaluations: Mapping[str, _Evaluation]) -> None:
    sets = {
        name: [(row["prompt"], row.get("completion")) for row in evaluation.rows]
        for name, evaluation in evaluations.items()
    }
    first, *others = sets
    different = [name for name in others if sets[name] != sets[first]]
    if different:
        raise UserError(
            f"The {task} measures each response among those of all other prompts, and {' and '.join(different)} had "
            f"another set of them than {first} ({len(sets[different[0]])} and {len(sets[first])} prompts). "
            "Give all runs the same --data and --max-examples, or choose other evaluations with --tasks."
        )
