"""What a person sees while a job runs: one line when a stage begins, and a bar with the time left."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

__all__ = ["Bar", "console", "progress_bar", "say"]

console = Console(stderr=True, highlight=False)
"""Progress goes to standard error; results go to standard output."""


def say(message: str) -> None:
    """Print one line about what happens now."""
    console.print(message, markup=False)


class Bar:
    """A progress bar that can be advanced and can show a short note, such as the loss."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: float = 1, *, note: str = "") -> None:
        """Move on by ``steps`` and show ``note`` beside the bar."""
        self._progress.update(self._task, advance=steps, note=note)


@contextmanager
def progress_bar(description: str, total: float) -> Iterator[Bar]:
    """A bar with the count, a note, the time gone and the time left. In a narrow window the bar gives way first."""
    whole = Column(no_wrap=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=whole),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(table_column=whole),
        TextColumn("left"),
        TimeRemainingColumn(table_column=whole),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, progress.add_task(description, total=total, note=""))
