"""What a study would take: hours and memory of its trainings, and what judges would be asked.

Trainings are forecast by ``rt train --plan``: one for each set of options, whatever the seed, and no more than a few;
the others count as their mean. How long evaluations take is known once one of each kind is there (``rt study status``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.table import Table

from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.recipes.recipe_registry import recipes
from response_tuning.study.planning.plan import STUDY, Stage, StudyPlan
from response_tuning.study.planning.tables import duration
from response_tuning.support.errors import UserError

__all__ = ["Forecast", "forecast_table", "forecast_trainings", "judge_requests"]

_MOST = 4
"""Sets of options that are forecast."""
_SECONDS = 3.0
"""How long the speed of each is measured."""
_GIGABYTE = 1e9
_HOUR = 3600.0

_REQUESTS: dict[str, tuple[int, int, float]] = {
    "alpaca": (805, 1, 2),
    "infobench": (500, 1, 4.5),
    "just": (1000, 1, 1),
    "mt-bench": (80, 1, 2),
    "refusals": (274, 5, 1),
    "selective": (80, 1, 1),
}
"""Of judged evaluations: the prompts of a set (of several, their mean), how many sets, and the requests per prompt."""


@dataclass(frozen=True)
class Forecast:
    """Trainings with the same options but for the seed."""

    name: str
    """Of the first of them."""
    trainings: int
    """How many of them are to do."""
    seconds: float | None
    """Of each; None where it does not fit or could not be measured."""
    memory_bytes: int | None
    note: str = ""
    """Why something is not known."""


def forecast_trainings(plan: StudyPlan, states: Mapping[str, str]) -> Iterator[Forecast]:
    """Forecast the trainings that are to do, each set of options once; takes some seconds for each.

    Args:
        plan: the study.
        states: of each stage, by key.
    """
    groups: dict[str, list[Stage]] = {}
    for key, stage in plan.stages.items():
        if stage.training and states[key] != "done":
            groups.setdefault(repr({**stage.training, "seed": 0, "data": _same_data(stage)}), []).append(stage)
    with TemporaryDirectory(prefix="rt-study-") as folder:
        for number, stages in enumerate(groups.values()):
            if number < _MOST:
                yield _forecast(stages, plan, Path(folder))
            else:
                yield Forecast(stages[0].name, len(stages), None, None, "as the mean of those above")


def _same_data(stage: Stage) -> str:
    """The training set, without what the draw of a seed adds to its name."""
    return str(stage.training["data"]).rpartition("-")[0]


def _forecast(stages: list[Stage], plan: StudyPlan, folder: Path) -> Forecast:
    from response_tuning.training.planning.plan import make_plan
    from response_tuning.training.training_config import TrainingConfig

    first = stages[0]
    try:
        _make_data(first, plan, folder)
        options = {name: _placed(value, folder) for name, value in first.training.items()}
        made = make_plan(TrainingConfig(output=folder / "run", **options), seconds=_SECONDS)
    except UserError as error:
        return Forecast(first.name, len(stages), None, None, str(error).splitlines()[0])
    note = "" if made.fits else "it does not fit into the memory of this machine"
    return Forecast(first.name, len(stages), made.time.total if made.time else None, made.memory.total, note)


def _placed(value: Any, folder: Path) -> Any:
    return value.replace(STUDY, str(folder)) if isinstance(value, str) else value


def _make_data(stage: Stage, plan: StudyPlan, folder: Path) -> None:
    """Run the commands that make a training set, in a temporary folder.

    Raises:
        UserError: one of them failed, as where nothing can be fetched.
    """
    from response_tuning.study.running.run_job import InSubprocess, run_job
    from response_tuning.study.running.run_study import job_of

    for key in stage.needs:
        needed = plan.stages[key]
        if _asks_model(needed):
            raise UserError(f"{needed.name} asks a model, so a plan does not make it; known once it is there")
        _make_data(needed, plan, folder)
        if not run_job(job_of(needed, folder), InSubprocess()).succeeded:
            raise UserError(f"{needed.name} cannot be made now")


def _asks_model(stage: Stage) -> bool:
    """Whether a stage makes its data by asking a model, which may cost hours or money."""
    asking = {recipe.name for recipe in recipes() if issubclass(recipe.config, AskOptions)}
    return stage.words[0] == "data" and stage.words[1] in asking


def judge_requests(plan: StudyPlan, states: Mapping[str, str]) -> dict[str, int]:
    """How many requests judges would get, by evaluation, for what is to do."""
    requests: dict[str, int] = {}
    for key, stage in plan.stages.items():
        if stage.kind != "evaluation" or "--judge" not in stage.words or states[key] == "done":
            continue
        name = stage.words[1]
        prompts, sets, each = _REQUESTS.get(name, (0, 0, 0))
        if "--max-examples" in stage.words:
            prompts = min(prompts, int(stage.words[stage.words.index("--max-examples") + 1]))
        requests[name] = requests.get(name, 0) + round(prompts * sets * each)
    return requests


def forecast_table(forecasts: list[Forecast]) -> Table:
    """A row per set of options, and the sum."""
    table = Table(title="trainings to do, forecast on this machine", title_justify="left")
    for header in ("training", "count", "memory", "time of each", ""):
        table.add_column(header)
    for one in forecasts:
        memory = "" if one.memory_bytes is None else f"{one.memory_bytes / _GIGABYTE:.1f} GB"
        each = "" if one.seconds is None else duration(one.seconds)
        table.add_row(one.name, str(one.trainings), memory, each, one.note)
    known = [one for one in forecasts if one.seconds is not None]
    if known:
        mean = sum(one.seconds or 0.0 for one in known) / len(known)
        total = sum((mean if one.seconds is None else one.seconds) * one.trainings for one in forecasts)
        table.caption = f"all together, one after the other: {total / _HOUR:.2f} hours, without loading models"
    return table
