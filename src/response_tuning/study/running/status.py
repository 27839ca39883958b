"""How far a study is: counts, failures with their logs, and the time that is left."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from response_tuning.study.planning.plan import StudyPlan, read_plan
from response_tuning.study.planning.tables import arms_table, duration
from response_tuning.study.running.records import log_path
from response_tuning.study.running.states import StageProgress, cell_states, is_running, states_of
from response_tuning.support.errors import UserError

__all__ = ["print_status", "require_plan", "seconds_left"]


def require_plan(folder: Path) -> StudyPlan:
    """The plan of a study's folder.

    Raises:
        UserError: there is none.
    """
    plan = read_plan(folder)
    if plan is None:
        raise UserError(f"{folder} is no study's folder: it has no plan.json. 'rt study run FILE' makes one.")
    return plan


def print_status(folder: Path, print_one: Callable[[object], None]) -> None:
    """Print a table of arms, the cells by state, what failed, and the time left.

    Raises:
        UserError: the folder holds no study.
    """
    plan = require_plan(folder)
    runs_now = is_running(folder)
    states = states_of(plan, folder, is_running=runs_now)
    print_one(arms_table(plan, {key: each.state for key, each in states.items()}))
    cells = cell_states(plan, states)
    counted = ", ".join(f"{cells[state]} {state}" for state in ("done", "running", "failed", "to do") if cells[state])
    print_one(f"cells: {counted}" + ("" if runs_now or cells["done"] == len(plan.cells) else "; nothing runs now"))
    for key, each in states.items():
        if each.state == "failed":
            reason = each.record.reason if each.record else ""
            print_one(f"failed: {plan.stages[key].name} {reason} (log: {log_path(folder, plan.stages[key].name)})")
    left = seconds_left(plan, states)
    if left is not None:
        print_one(f"about {duration(left)} left, one stage after the other, by the mean of the finished ones")


def seconds_left(plan: StudyPlan, states: Mapping[str, StageProgress]) -> float | None:
    """The time of what is to do, by the mean time of the finished stages of its kind; None where none is finished."""
    times: dict[str, list[float]] = {}
    to_do: Counter[str] = Counter()
    for key, each in states.items():
        kind = plan.stages[key].kind
        if each.state == "done" and each.record is not None:
            times.setdefault(kind, []).append(each.record.seconds)
        elif each.state in ("to do", "running"):
            to_do[kind] += 1
    if not to_do or not to_do.keys() <= times.keys():
        return None
    return sum(count * sum(times[kind]) / len(times[kind]) for kind, count in to_do.items())
