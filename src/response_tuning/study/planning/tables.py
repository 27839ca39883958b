"""A study's plan and progress in the terminal."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from rich.table import Table

from response_tuning.study.planning.cells import arm_name
from response_tuning.study.planning.plan import StudyPlan

__all__ = ["arms_table", "duration"]

_ROWS = 60
"""The most arms that are listed; more are counted."""


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))


def arms_table(plan: StudyPlan, states: Mapping[str, str]) -> Table:
    """One row per arm: its seeds, and how many of its stages are done.

    Args:
        plan: the study.
        states: of each stage, by key.
    """
    table = Table(title=f"{plan.name}: {len(plan.cells)} cells", title_justify="left")
    for header in ("arm", "seeds", "evaluations", "stages done"):
        table.add_column(header)
    arms: dict[str, list[int]] = {}
    for position, cell in enumerate(plan.cells):
        arms.setdefault(arm_name(cell.arm, plan.varied), []).append(position)
    for name, positions in [*arms.items()][:_ROWS]:
        cells = [plan.cells[position] for position in positions]
        stages = dict.fromkeys(key for cell in cells for key in cell.stages)
        done = sum(states[key] == "done" for key in stages)
        seeds = " ".join(str(cell.seed) for cell in cells if cell.seed is not None)
        table.add_row(name, seeds, ", ".join(cells[0].evaluations), f"{done} of {len(stages)}")
    if len(arms) > _ROWS:
        table.add_row(f"and {len(arms) - _ROWS} more arms", "", "", "")
    kinds = Counter(stage.kind for stage in plan.stages.values())
    finished = Counter(stage.kind for key, stage in plan.stages.items() if states[key] == "done")
    names = {"data": "data sets", "run": "runs", "evaluation": "evaluations"}
    table.caption = "stages, each once: " + ", ".join(
        f"{count} {names[kind]} ({finished[kind]} done)" for kind, count in kinds.items()
    )
    return table
