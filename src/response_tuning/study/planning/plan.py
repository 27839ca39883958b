"""A study as the commands that it runs: stages, each once, and the cells that share them.

A plan is saved as ``plan.json`` in the study's folder. Paths in it begin with ``{study}``, so that the folder may move.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from response_tuning.study.definition.study_file import ReportOptions

__all__ = ["PLAN_FILE", "STUDY", "MeasuredCell", "Stage", "StageKind", "StudyPlan", "read_plan", "words_in"]

STUDY = "{study}"
"""The study's folder, in the words of a command."""
PLAN_FILE = "plan.json"

StageKind = Literal["data", "run", "evaluation"]


class Stage(BaseModel):
    """One command. Its key is a hash of everything that its result depends on."""

    model_config = ConfigDict(frozen=True)

    key: str
    kind: StageKind
    name: str
    """Where its result is, in the study's folder."""
    words: list[str]
    """What follows ``rt``."""
    needs: list[str] = Field(default_factory=list)
    """The keys of the stages whose results it reads."""
    proof: list[str]
    """Paths in the study's folder, one of which exists once the stage has finished."""
    gpus: int = 0
    """How many GPUs it computes on, where there are any."""
    training: dict[str, Any] = Field(default_factory=dict)
    """The options of a training, to forecast it."""


class MeasuredCell(BaseModel):
    """One arm with one seed, where its run is and what is measured on it."""

    model_config = ConfigDict(frozen=True)

    arm: dict[str, Any]
    """The value of each axis that matters to its method."""
    seed: int | None
    """None for a method without training."""
    run: str
    """The run's folder in the study's folder; empty for a model that is asked as it is."""
    stages: list[str]
    """The keys of every stage that it needs, in order."""
    evaluations: dict[str, str]
    """By label, the folder of the results in the study's folder."""


class StudyPlan(BaseModel):
    """What a study consists of."""

    model_config = ConfigDict(frozen=True)

    name: str
    question: str
    notes: str
    varied: list[str]
    """The axes with more than one value."""
    evaluations: dict[str, str]
    """The name in the registry by label."""
    cells: list[MeasuredCell]
    stages: dict[str, Stage]
    """By key; a stage comes after those that it needs."""
    left_out: list[str]
    """What is not done, and why."""
    report: ReportOptions


def words_in(stage: Stage, folder: Path) -> list[str]:
    """The words of a stage's command, with the study's folder in place."""
    return [word.replace(STUDY, str(folder.absolute())) for word in stage.words]


def read_plan(folder: Path) -> StudyPlan | None:
    """The plan of a study's folder; None where there is none."""
    path = folder / PLAN_FILE
    return StudyPlan.model_validate_json(path.read_bytes()) if path.is_file() else None
