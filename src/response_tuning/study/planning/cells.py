"""The cells of a study: one combination of the axes with one seed, and nothing in it that its method ignores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from response_tuning.study.definition.study_file import StudyFile, is_number
from response_tuning.study.planning.methods import StudyMethod

__all__ = ["Cell", "arm_name", "cells_of", "data_name", "shown"]

Combination = dict[str, Any]
"""A value for each axis, as the file has it."""


@dataclass(frozen=True)
class Cell:
    """One arm with one seed."""

    axes: Combination
    """The axes that matter to its method, in the order of the file."""
    seed: int | None
    """None for a method without training."""

    @property
    def arm(self) -> dict[str, Any]:
        """The axes as they are shown: data by their names."""
        return {name: shown(name, value) for name, value in self.axes.items()}


def cells_of(study: StudyFile, methods: Mapping[str, StudyMethod]) -> list[Cell]:
    """Every cell once, in the order of the file: seeds innermost, arms without a seed first where they are first.

    Args:
        study: the study, with known methods.
        methods: the registered methods.
    """
    cells: dict[str, Cell] = {}
    for combination in _combinations(study):
        method = methods[combination["method"]]
        relevant = {name: value for name, value in combination.items() if method.has(name)}
        for seed in study.seeds if method.is_trained else [None]:
            cell = Cell(relevant, seed)
            cells.setdefault(repr(([*cell.arm.items()], seed)), cell)
    return [*cells.values()]


def _combinations(study: StudyFile) -> Iterator[Combination]:
    for combination in _crossed(study.axes):
        if not any(_matches(combination, excluded) for excluded in study.exclude):
            yield combination
    for further in study.include:
        yield from _crossed({**study.axes, **further})


def _crossed(axes: Mapping[str, Sequence[Any]]) -> Iterator[Combination]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _matches(combination: Combination, wanted: Mapping[str, Sequence[Any]]) -> bool:
    return all(shown(name, combination.get(name)) in [shown(name, one) for one in of] for name, of in wanted.items())


def shown(axis: str, value: Any) -> Any:
    """A value of an axis as it is shown: data by their name, anything else as it is."""
    return data_name(value) if axis == "data" else value


def data_name(value: Any) -> str:
    """The name of a training set in the report."""
    if not isinstance(value, dict):
        return str(value)
    if "name" in value:
        return str(value["name"])
    words = [str(value[part]) for part in ("source", "recipe") if part in value]
    return " ".join([*words, *(str(value["task"]) for _ in "x" if "task" in value)])


def arm_name(arm: Mapping[str, Any], varied: Sequence[str]) -> str:
    """An arm in a few words: its method, and the values of the axes that vary."""
    parts = [str(arm.get("method", ""))]
    for name in varied:
        if name != "method" and name in arm:
            value = arm[name]
            parts.append(f"{name} {value:g}" if is_number(value) else _word(name, value))
    return ", ".join(part for part in parts if part)


def _word(axis: str, value: Any) -> str:
    return str(value) if axis in ("model", "data", "format") else f"{axis} {value}"
