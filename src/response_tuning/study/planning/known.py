"""Whether everything that a study file names exists: axes, options, methods and evaluations."""

from collections.abc import Iterator
from typing import Any

from response_tuning.evaluation.registry import evaluations
from response_tuning.study.definition.study_file import AXES, StudyFile
from response_tuning.study.definition.yaml_lines import Fault
from response_tuning.study.planning.methods import study_methods
from response_tuning.support.configuration import options_of
from response_tuning.training.training_config import TrainingConfig

__all__ = ["unknown_names"]

_NOT_IN_TRAINING = frozenset({"output", "data", "model", "method", "seed", "plan"})
"""Options of ``rt train`` that a study sets itself."""


def unknown_names(file: StudyFile) -> Iterator[Fault]:
    """What the file names and does not exist, and what it lacks."""
    training = set(options_of(TrainingConfig)) - _NOT_IN_TRAINING
    known = {*AXES, *training}
    for axis in file.axes:
        if axis not in known:
            yield Fault(
                ("axes", axis),
                f"there is no axis {axis!r}: it is none of {', '.join(AXES)}, and no option of rt train for an axis.",
            )
    for name in ("model", "method"):
        if name not in file.axes:
            yield Fault(("axes",), f"the axis {name!r} is missing.")
    for option in file.training:
        if option not in training:
            yield Fault(("training", option), f"there is no option {option!r} of rt train that a study may set.")
    yield from _unknown_methods(file)
    yield from _unknown_evaluations(file)
    yield from _unknown_axes(file, known)


def _unknown_methods(file: StudyFile) -> Iterator[Fault]:
    methods = study_methods()
    listed: list[tuple[tuple[str | int, ...], list[Any]]] = [(("axes", "method"), file.axes.get("method", []))]
    listed += [(("include", number, "method"), entry.get("method", [])) for number, entry in enumerate(file.include)]
    for place, values in listed:
        for position, method in enumerate(values):
            if method not in methods:
                yield Fault((*place, position), f"there is no method {method!r}. There are {', '.join(methods)}.")
    needs_data = [name for name in file.axes.get("method", []) if name in methods and methods[name].is_trained]
    if needs_data and "data" not in file.axes:
        yield Fault(("axes",), f"the axis 'data' is missing, which the method {needs_data[0]} needs.")


def _unknown_evaluations(file: StudyFile) -> Iterator[Fault]:
    known = evaluations()
    titles: set[str] = set()
    for position, choice in enumerate(file.evaluations):
        place = ("evaluations", position, choice.name)
        if choice.name not in known:
            yield Fault(place, f"there is no evaluation {choice.name!r}. There are {', '.join(known)}.")
        if choice.title in titles:
            yield Fault(place, f"{choice.title!r} is listed twice. Give one of them another label.")
        titles.add(choice.title)
        for axis in choice.only:
            if axis not in file.axes:
                yield Fault((*place, "only", axis), f"{choice.title} names {axis!r}, which is no axis of this study.")
    for title in file.report.metrics:
        if title not in titles:
            yield Fault(
                ("report", "metrics", title), f"the report names {title!r}, which is no evaluation of this study."
            )


def _unknown_axes(file: StudyFile, known: set[str]) -> Iterator[Fault]:
    for position, entry in enumerate(file.include):
        for axis in entry.keys() - known:
            yield Fault(("include", position, axis), f"there is no axis {axis!r} to include.")
    for position, entry in enumerate(file.exclude):
        for axis in entry.keys() - file.axes.keys():
            yield Fault(("exclude", position, axis), f"exclude names {axis!r}, which is no axis of this study.")
    for axis in file.report.baseline.keys() - file.axes.keys():
        yield Fault(("report", "baseline", axis), f"the baseline names {axis!r}, which is no axis of this study.")
