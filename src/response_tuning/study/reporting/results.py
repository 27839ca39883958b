"""What was measured in a study so far: the values of every arm, by seed and prompt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.prompt_values import PromptValues, prompt_values, rows_file
from response_tuning.study.planning.cells import arm_name
from response_tuning.study.planning.plan import MeasuredCell, StudyPlan
from response_tuning.support.files import read_json, read_json_lines

__all__ = ["Arm", "Measured", "Results", "gather"]

Scale = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """One evaluation of one cell."""

    seed: int | None
    values: PromptValues
    others: dict[str, float]
    """Metrics that are no means over prompts, such as a length-controlled win rate."""
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One arm in one evaluation, with every seed that was measured."""

    name: str
    axes: dict[str, Any]
    cells: list[Measured]

    @property
    def seeds(self) -> list[int]:
        """Of its trainings; empty for a method without."""
        return [cell.seed for cell in self.cells if cell.seed is not None]


@dataclass(frozen=True)
class Results:
    """One evaluation of every arm."""

    label: str
    evaluation: str
    """Its name in the registry."""
    arms: list[Arm]
    metrics: list[str]
    """With a value per prompt, in the order of the evaluation."""
    scales: Mapping[str, Scale]


def gather(plan: StudyPlan, folder: Path) -> list[Results]:
    """The results of each evaluation that are there, those of other cells left out."""
    return [_of_evaluation(plan, folder, label, name) for label, name in plan.evaluations.items()]


def _of_evaluation(plan: StudyPlan, folder: Path, label: str, name: str) -> Results:
    arms: dict[str, Arm] = {}
    for cell in plan.cells:
        measured = _measured(cell, folder, label)
        if measured is not None:
            key = repr([*cell.arm.items()])
            arm = arms.setdefault(key, Arm(arm_name(cell.arm, plan.varied), cell.arm, []))
            arm.cells.append(measured)
    metrics = dict.fromkeys(
        metric for arm in arms.values() for cell in arm.cells for values in cell.values.values() for metric in values
    )
    registered = evaluations().get(name)
    return Results(label, name, [*arms.values()], [*metrics], registered.scales if registered else {})


def _measured(cell: MeasuredCell, folder: Path, label: str) -> Measured | None:
    """The evaluation of one cell; None where it is not there yet."""
    if label not in cell.evaluations:
        return None
    results = folder / cell.evaluations[label]
    rows_path = rows_file(results)
    if rows_path is None or not (results / "metrics.json").is_file():
        return None
    rows = [row for row in read_json_lines(rows_path) if "values" in row]
    values = prompt_values(rows)
    per_prompt = {metric for of_prompt in values.values() for metric in of_prompt}
    others = {
        name: number
        for name, number in _numbers(read_json(results / "metrics.json").get("metrics", {}))
        if name not in per_prompt and name.partition(".")[0] not in per_prompt
    }
    return Measured(cell.seed, values, others, rows)


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in nested metrics: an estimate is its value."""
    for name, value in metrics.items():
        if isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys():
            yield prefix + name, float(value["value"])
        elif isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, float(value)
