"""The options of ``rt study``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.study.definition.read_study import Overrides

__all__ = ["ListOptions", "PlanOptions", "ReportStudyOptions", "RunStudyOptions", "StatusOptions"]


class _Selection(BaseModel):
    """Which study, and what replaces parts of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Annotated[str, tyro.conf.Positional]
    """A study file, or a study that comes along (rt study list)."""
    scale: str | None = None
    """One of the file's scales. The studies that come along have laptop, gpu and paper."""
    model: tuple[str, ...] = ()
    """Study these base models instead."""
    data: tuple[str, ...] = ()
    """Study these training sets instead."""
    seeds: tuple[int, ...] = ()
    """Repeat with these seeds instead."""
    judge: str | None = None
    """The judge of every evaluation that takes one, as PROVIDER/NAME."""
    limit: int | None = Field(default=None, ge=2)
    """Try the study out: at most this many training rows, and prompts of each evaluation."""

    @property
    def overrides(self) -> Overrides:
        """What replaces parts of the file."""
        return Overrides(
            scale=self.scale, model=self.model, data=self.data, seeds=self.seeds, judge=self.judge, limit=self.limit
        )


class PlanOptions(_Selection):
    """Show what a study consists of and takes, before anything starts.

    For example:
        rt study plan an-kim --scale laptop
        rt study plan mine.yaml --output studies/mine
    """

    output: Path | None = None
    """The study's folder, to count what is there already. Defaults to studies/NAME."""
    commands: bool = False
    """Also print every command."""
    quick: bool = False
    """Measure nothing: leave out hours and memory."""


class RunStudyOptions(_Selection):
    """Run a study: train and measure every cell that is not there, and write the report. Re-run to resume.

    The exit code is 1 if a stage failed; the others still run.

    For example:
        rt study run laptop
        rt study run mine.yaml --output studies/mine
        rt study run an-kim --scale gpu --executor slurm --slurm-partition gpu
    """

    output: Path | None = None
    """The study's folder. Defaults to studies/NAME."""
    executor: Literal["local", "ray", "slurm"] = "local"
    """Where commands run. local: one after the other on a CPU, or one per GPU."""
    memory_gb: float = Field(default=0, ge=0)
    """Main memory of each command, for ray and slurm; 0 leaves it to them."""
    ray_address: str = "local"
    """A Ray cluster's address, auto for the one that runs here, or local to start one."""
    slurm_partition: str | None = None
    """The partition of Slurm. Defaults to the cluster's."""
    slurm_minutes: int = Field(default=24 * 60, ge=1)
    """How long a command may take under Slurm."""
    slurm_setup: tuple[str, ...] = ()
    """Shell commands before each command under Slurm, such as 'module load cuda'."""


class StatusOptions(BaseModel):
    """Show how far a study is, what failed, and where the logs are.

    For example:
        rt study status studies/mine
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The study's folder."""


class ReportStudyOptions(BaseModel):
    """Write a study's report from what is there: a page, Markdown, tables and figures. Also while it runs.

    For example:
        rt study report studies/mine
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Annotated[Path, tyro.conf.Positional]
    """The study's folder."""
    output: Path | None = None
    """Where to write. Defaults to report/ in the study's folder."""


class ListOptions(BaseModel):
    """List the studies that come along, methods and axes; with a name, print that study's file to begin one's own with.

    For example:
        rt study list
        rt study list worth-of-instructions > mine.yaml
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: Annotated[str | None, tyro.conf.Positional] = None
    """A study that comes along."""
