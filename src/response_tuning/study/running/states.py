"""The state of every stage of a study, from the records and results in its folder."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from response_tuning.study.planning.plan import StudyPlan
from response_tuning.study.running.records import Record, exists_one, read_record
from response_tuning.support.platforms import lock

__all__ = ["LOCK", "CellState", "StageProgress", "cell_states", "is_running", "states_of"]

LOCK = ".lock"
"""In the study's folder: held by whoever runs it."""

Progress = Literal["done", "running", "failed", "blocked", "to do"]
"""blocked: a stage that it needs has failed."""


@dataclass(frozen=True)
class StageProgress:
    """Where one stage is."""

    state: Progress
    record: Record | None


def states_of(plan: StudyPlan, folder: Path, *, is_running: bool = False) -> dict[str, StageProgress]:
    """The state of each stage, by key, in the order of the plan.

    Args:
        plan: the study.
        folder: its folder.
        is_running: whether somebody runs it now; otherwise a stage that was at work when its starter was killed is to
            do.
    """
    states: dict[str, StageProgress] = {}
    for key, stage in plan.stages.items():
        record = read_record(folder, key)
        state: Progress = "to do"
        if record is not None and record.state == "done" and exists_one(folder, stage.proof):
            state = "done"
        elif any(states[needed].state in ("failed", "blocked") for needed in stage.needs):
            state = "blocked"
        elif record is not None and record.state == "failed":
            state = "failed"
        elif record is not None and record.state == "running" and is_running:
            state = "running"
        states[key] = StageProgress(state, record)
    return states


CellState = Literal["done", "failed", "running", "to do"]


def cell_states(plan: StudyPlan, states: Mapping[str, StageProgress]) -> Counter[CellState]:
    """How many cells are done, and how many have failed, are at work or are to do."""
    counts: Counter[CellState] = Counter()
    for cell in plan.cells:
        of_cell = {states[key].state for key in cell.stages}
        if of_cell <= {"done"}:
            counts["done"] += 1
        elif of_cell & {"failed", "blocked"}:
            counts["failed"] += 1
        else:
            counts["running" if "running" in of_cell else "to do"] += 1
    return counts


def is_running(folder: Path) -> bool:
    """Whether a driver holds the study's lock now."""
    path = folder / LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        return not lock(file, wait=False)
