"""The course of an evaluation without a judge: find a finished one, or measure and save."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from response_tuning.evaluation.shared.identity import data_hash, defaults_of
from response_tuning.evaluation.shared.results import (
    Measured,
    read_metrics,
    results_folder,
    save_metrics,
    save_responses,
)
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.progress import say

__all__ = ["Means", "Measurement", "evaluate_unjudged", "means_of"]

Result = TypeVar("Result", bound=Measured)


@dataclass(frozen=True)
class Measurement(Generic[Result]):
    """What an evaluation measured, and what the numbers depend on."""

    result: Result
    backend: Mapping[str, str | None]
    """What made the responses (``answering.backend_of``)."""
    packages: Sequence[str] = ()
    """Packages whose versions the numbers depend on, besides the usual ones."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of ``metrics.json``."""


@dataclass(frozen=True)
class Means:
    """The simplest result: the mean of every value, and the rows with the values."""

    metrics: dict[str, Estimate]
    rows: list[dict[str, Any]]


class _Options(Protocol):
    @property
    def model(self) -> str: ...
    @property
    def output(self) -> Path | None: ...
    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]: ...


def evaluate_unjudged(
    config: _Options,
    task: str,
    *,
    measure: Callable[[Path], Measurement[Result]],
    settings: Mapping[str, Any] | None = None,
    read: Callable[[Mapping[str, Any], Path], Result | None] | None = None,
    rows_file: str = "responses.jsonl",
    data: Sequence[Mapping[str, Any]] | None = None,
) -> Result:
    """Return the result of a finished evaluation with the same settings, or measure and save.

    Args:
        config: the options of the evaluation.
        task: its name.
        measure: measures, given the folder of the results; it may keep there what it need not compute again.
        settings: what the result depends on. Defaults to all of ``config`` except ``output`` and ``offline``.
        read: builds the result from the ``metrics.json`` of a finished evaluation with these settings and its folder;
            returns None if something is missing there. By default, nothing is read and everything is measured.
        rows_file: the file of the rows.
        data: the rows that the model is asked. A result belongs to their content (``data_hash`` in ``metrics.json``),
            whatever their file is called.

    Raises:
        UserError: the results cannot be saved there; or as ``measure``.
    """
    folder = results_folder(config.model, task, config.output)
    settings = config.model_dump(mode="json", exclude={"output", "offline"}) if settings is None else settings
    saved = None
    if read is not None:
        defaults = defaults_of(type(config)) if isinstance(config, BaseModel) else None
        saved = read_metrics(folder, settings=settings, defaults=defaults, data=data, rows_file=rows_file)
    finished = read(saved, folder) if read is not None and saved is not None else None
    if finished is not None:
        say(f"{folder} already holds this evaluation.")
        return finished
    started = time.perf_counter()
    measurement = measure(folder)
    facts = dict(measurement.facts)
    # An evaluation that was partly measured in an earlier call knows its total time.
    if data is not None:
        facts["data_hash"] = data_hash(data)
    facts.setdefault("seconds", round(time.perf_counter() - started, 1))
    save_responses(folder, task, model=config.model, rows=measurement.result.rows, name=rows_file)
    save_metrics(
        folder,
        task,
        metrics=measurement.result.metrics,
        settings=settings,
        backend=measurement.backend,
        packages=measurement.packages,
        **facts,
    )
    return measurement.result


def means_of(rows: Sequence[Mapping[str, Any]]) -> Means:
    """The mean of every name in the ``values`` of rows, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row["values"])
    means = {name: estimate_mean([row["values"][name] for row in rows if name in row["values"]]) for name in names}
    return Means(means, [dict(row) for row in rows])
