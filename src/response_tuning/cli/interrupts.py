"""Whether the user has just pressed Ctrl-C, whatever exception that became."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

__all__ = ["noting_interrupts"]

_JUST_SECONDS = 5.0


@contextmanager
def noting_interrupts() -> Iterator[Callable[[], bool]]:
    """Note every Ctrl-C within the block; yields a function that tells whether there was one in the last seconds.

    Python raises KeyboardInterrupt wherever it is. Within a callback of a C extension (a font that matplotlib measures)
    that becomes another exception, which says nothing of Ctrl-C.
    """
    last = [-_JUST_SECONDS]

    def note(number: int, frame: FrameType | None) -> None:
        last[0] = monotonic()
        signal.default_int_handler(number, frame)

    is_ours = threading.current_thread() is threading.main_thread()
    is_ours = is_ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: monotonic() - last[0] < _JUST_SECONDS
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
