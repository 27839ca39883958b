"""Read a study file: its scale, what the command line overrides, and every fault with its line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from response_tuning.study.definition.packaged import read_named
from response_tuning.study.definition.study_file import StudyFile
from response_tuning.study.definition.yaml_lines import Fault, YamlFile
from response_tuning.support.errors import UserError

__all__ = ["Overrides", "Study", "read_study"]


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the command line replaces in a study file."""

    scale: str | None = None
    """One of the file's ``scales``."""
    model: tuple[str, ...] = ()
    """The values of the axis ``model``."""
    data: tuple[str, ...] = ()
    """The values of the axis ``data``."""
    seeds: tuple[int, ...] = ()
    judge: str | None = None
    """The judge of every evaluation that takes one."""
    limit: int | None = None
    """The most rows of each training set, refusals and kept instructions, and the most prompts of each evaluation."""


@dataclass(frozen=True)
class Study:
    """A study file, read and validated, and where its values are."""

    name: str
    file: StudyFile
    source: YamlFile
    overrides: Overrides

    def error(self, faults: Iterable[Fault]) -> UserError:
        """Faults that were found later, each with its line in the file."""
        return self.source.error(_located(self.source, self.overrides.scale, faults))


def read_study(study: str, overrides: Overrides | None = None) -> Study:
    """Read a study by its name in this package or by its file.

    Raises:
        UserError: there is no such study or scale, or the file has faults; the message names all of them by line.
    """
    given = overrides or Overrides()
    source = read_named(study)
    values = {**_overlaid(source, given.scale), "scales": {}}
    try:
        file = StudyFile.model_validate(_overridden(values, given))
    except ValidationError as error:
        faults = [_fault(detail, values) for detail in error.errors()]
        raise source.error(_located(source, given.scale, faults)) from None
    return Study(Path(source.name).stem, file, source, given)


def _overlaid(source: YamlFile, scale: str | None) -> dict[str, Any]:
    scales = source.values.get("scales") or {}
    if scale is None:
        return source.values
    if not isinstance(scales, dict) or scale not in scales:
        known = f"It has {', '.join(scales)}." if scales else "It has none."
        raise UserError(f"{source.name} has no scale {scale!r}. {known}")
    merged = _merged(source.values, scales[scale] or {})
    assert isinstance(merged, dict)
    return merged


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}


def _overridden(values: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    axes = values.get("axes")
    named = {"model": [*overrides.model], "data": [*overrides.data]}
    if isinstance(axes, dict):
        axes = {**axes, **{axis: given for axis, given in named.items() if given}}
    seeds: dict[str, Any] = {"seeds": [*overrides.seeds]} if overrides.seeds else {}
    report = values.get("report")
    if isinstance(report, dict) and isinstance(baseline := report.get("baseline"), dict):
        # A baseline among the replaced values is the first of those that replace them.
        moved = {axis: given[0] for axis, given in named.items() if given and axis in baseline}
        seeds = {**seeds, "report": {**report, "baseline": {**baseline, **moved}}}
    return {**values, "axes": axes, **seeds} if axes is not None else values


def _fault(detail: Mapping[str, Any], values: Mapping[str, Any]) -> Fault:
    place = tuple(detail["loc"])
    if place[:1] == ("evaluations",) and len(place) > 1:
        place = (*place[:2], _evaluation_name(values, int(place[1])), *place[2:])
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(StudyFile.model_fields)
        return Fault(place, f"there is no field {field!r}. A study has {known}.")
    if detail["type"] == "missing":
        return Fault(place, f"the field {field!r} is missing.")
    if detail["type"] == "value_error":
        return Fault(place, f"{detail['ctx']['error']}.")
    return Fault(place, f"{field} is {detail['input']!r}: {detail['msg'].replace('Input should', 'it should', 1)}.")


def _evaluation_name(values: Mapping[str, Any], position: int) -> str:
    listed = values["evaluations"]
    names = list(listed) if isinstance(listed, dict) else [_only_key(each) for each in listed]
    return str(names[position]) if position < len(names) else ""


def _only_key(each: Any) -> str:
    return str(next(iter(each))) if isinstance(each, dict) and len(each) == 1 else ""


def _located(source: YamlFile, scale: str | None, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Faults with the places of their values: in the scale, where that sets them."""
    overlay = (source.values.get("scales") or {}).get(scale) or {}
    for fault in faults:
        inner: Any = overlay
        for part in fault.place[:2]:
            inner = inner.get(part) if isinstance(inner, dict) else None
        yield Fault(("scales", scale, *fault.place), fault.reason) if scale and inner is not None else fault
