"""Ctrl-C and SIGTERM, held back until a step is complete."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["held_back_interruption"]

_NOTICE = (
    b"\nInterrupted: waiting for the end of this step, to save a checkpoint. "
    b"Press Ctrl-C again to stop now and resume from the checkpoint before.\n"
)


@contextmanager
def held_back_interruption() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C or SIGTERM only makes the function that it yields return True.

    It prints at once what is waited for and how not to wait, since a step may take minutes. A second one interrupts at
    once. Signals reach only the main thread; in other threads nothing is held back.
    """
    asked = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        # Not by a logger: a signal may come while it, or the file below it, is writing.
        with suppress(OSError):
            os.write(2, _NOTICE)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
