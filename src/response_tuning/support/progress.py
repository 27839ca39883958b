"""Log lines and progress bars: one line when a stage begins, and a bar with the time left.

Lines go to the logger ``response_tuning``. Imported as a library, nothing is printed unless the importing program
configures logging, and no bar is drawn; the command line turns both on (``support.terminal``).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "draw_bars", "progress_bar", "say", "silence", "stderr_console", "warn"]

_logger = logging.getLogger("response_tuning")
_bars_are_drawn = False


def say(message: str) -> None:
    """Log one line about what happens now, at level INFO."""
    _logger.info("%s", message)


def warn(message: str) -> None:
    """Log one line at level WARNING: shown under ``--quiet`` too."""
    _logger.warning("%s", message)


def silence(is_silent: bool) -> None:
    """Log nothing and draw no bars in this process, or do so again: of several ranks only the first reports."""
    _logger.disabled = is_silent


def draw_bars(are_drawn: bool) -> None:
    """Whether ``progress_bar`` draws anything; it does not unless the command line asks for it."""
    global _bars_are_drawn
    _bars_are_drawn = are_drawn


@cache
def stderr_console() -> "Console":
    """The console of log lines and bars: standard error, while results go to standard output."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


class Bar:
    """A progress bar that can be advanced and can show a short note, such as the loss."""

    def __init__(self, progress: "Progress", task: "TaskID") -> None:
        self._progress = progress
        self._task = task

    def advance(self, steps: float = 1, *, note: str = "") -> None:
        """Advance by ``steps`` and show ``note`` beside the bar."""
        self._progress.update(self._task, advance=steps, note=note)


@contextmanager
def progress_bar(description: str, total: float) -> Iterator[Bar]:
    """A bar with the count, a note, and the times elapsed and left. In a narrow window the bar itself gives way."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

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
    is_drawn = _bars_are_drawn and not _logger.disabled
    with Progress(*columns, console=stderr_console(), disable=not is_drawn) as progress:
        yield Bar(progress, progress.add_task(description, total=total, note=""))
