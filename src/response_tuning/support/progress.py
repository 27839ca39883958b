"""Log lines and progress: one line when a stage begins, and a bar with the time left, or lines where nobody watches.

Lines go to the logger ``response_tuning``. Imported as a library, nothing is printed unless the importing program
configures logging, and no progress is shown; the command line turns both on (``support.terminal``).
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Bar", "clock", "draw_bars", "progress_bar", "say", "silence", "stderr_console", "warn"]

_logger = logging.getLogger("response_tuning")
_bars_are_drawn = False
_SECONDS_BETWEEN_LINES = 30.0


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
    """Whether ``progress_bar`` shows anything; it does not unless the command line asks for it."""
    global _bars_are_drawn
    _bars_are_drawn = are_drawn


@cache
def stderr_console() -> "Console":
    """The console of log lines and bars: standard error, while results go to standard output.

    A text is printed as it is: brackets in the name of a model are no markup.
    """
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


class Bar:
    """Progress that can be advanced and can show a short note, such as the loss."""

    def __init__(self, advance: Callable[[float, str], None]) -> None:
        self._advance = advance

    def advance(self, steps: float = 1, *, note: str = "") -> None:
        """Advance by ``steps`` and show ``note`` beside the count."""
        self._advance(steps, note)


@contextmanager
def progress_bar(description: str, total: float, *, done: int = 0) -> Iterator[Bar]:
    """Show the count, a note, and the times elapsed and left: as a bar, or in a log file as a line every 30 seconds.

    Args:
        description: what is done.
        total: how many steps there are.
        done: how many of them an earlier call has done.
    """
    if not _bars_are_drawn or _logger.disabled:
        yield Bar(lambda _steps, _note: None)
    elif _is_watched():
        with _drawn_bar(description, total, done) as bar:
            yield bar
    else:
        lines = _Lines(description, total, done)
        try:
            yield Bar(lines.advance)
        finally:
            lines.print()


def _is_watched() -> bool:
    """Whether standard error is a terminal that can move its cursor; a colour may be forced into a file, a bar not."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def _drawn_bar(description: str, total: float, done: int) -> Iterator[Bar]:
    """In a narrow window the bar itself gives way."""
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
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(table_column=whole),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(table_column=whole),
        TextColumn("left"),
        TimeRemainingColumn(table_column=whole),
    )
    with Progress(*columns, console=stderr_console()) as progress:
        task = progress.add_task(description, total=total, completed=done, note="")
        yield Bar(lambda steps, note: progress.update(task, advance=steps, note=note))


class _Lines:
    """Progress as log lines: the last one when it ends."""

    def __init__(self, description: str, total: float, done: float) -> None:
        self._description = description
        self._total = total
        self._at_start = self._done = done
        self._note = ""
        self._started = self._printed = monotonic()

    def advance(self, steps: float, note: str) -> None:
        """Count steps, and print a line if the last one is long ago."""
        self._done += steps
        self._note = note
        if monotonic() - self._printed >= _SECONDS_BETWEEN_LINES:
            self.print()

    def print(self) -> None:
        """Print a line."""
        self._printed = monotonic()
        elapsed = self._printed - self._started
        parts = [f"{self._done:,.0f} of {self._total:,.0f}", self._note, f"{clock(elapsed)} elapsed"]
        here = self._done - self._at_start
        if here and self._done < self._total:
            parts.append(f"{clock(elapsed / here * (self._total - self._done))} left")
        say(f"{self._description}: {', '.join(part for part in parts if part)}")


def clock(seconds: float) -> str:
    """A time as hours, minutes and seconds: ``0:03:12``."""
    return str(timedelta(seconds=round(seconds)))
