"""The training log, the progress bar, and a function that is called with each row."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from response_tuning.support.files import read_json_lines, write_json_lines
from response_tuning.support.progress import Bar
from response_tuning.training.observers.contract import Step

__all__ = ["BarObserver", "Caller", "Log", "open_log"]


def open_log(path: Path, *, rows: int, writes: bool) -> TextIO:
    """The training log, cut back to the steps that a checkpoint holds: later ones will be repeated.

    Args:
        path: The file.
        rows: How many rows to keep.
        writes: Whether this process writes it; any other gets a file that discards what is written.
    """
    if not writes:
        return Path(os.devnull).open("w", encoding="utf-8")
    if path.is_file():
        write_json_lines(path, read_json_lines(path)[:rows])
    return path.open("a", encoding="utf-8")


class Log:
    """Writes a row for each step."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        self._file.write(json.dumps(step.row) + "\n")
        self._file.flush()


class Caller:
    """Calls a function with each row."""

    def __init__(self, on_step: Callable[[dict[str, Any]], None]) -> None:
        self._on_step = on_step

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        self._on_step(step.row)


class BarObserver:
    """Advances a progress bar, with the loss and the speed beside it."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def after_step(self, step: Step) -> None:
        """See ``Observer``."""
        rate = step.progress.supervised_tokens / step.progress.seconds
        self._bar.advance(note=f"loss {step.row['loss']:.3f}  {rate:,.0f} supervised tokens/s")
