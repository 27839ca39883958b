"""How a command shares a machine with other work: its number of threads, how they wait, and its priority.

OpenMP reads its variables once, when torch is loaded, so all of this happens before. A thread that waits for the others
spins by default for about a millisecond (libgomp) or 200 (libomp). Where another program runs as well, a team's last
thread has no core meanwhile, which the spinning threads keep busy (docs/performance.md).
"""

import os
import sys

from response_tuning.support.errors import UserError

__all__ = ["set_up_threads", "yield_to_others"]

_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""Some microseconds of libgomp, and a millisecond of libomp: longer than the gap between two kernels of a layer."""
_NICENESS = 5


def set_up_threads(threads: str | None) -> None:
    """Set the number of threads, if one is given, and let waiting threads sleep soon unless the user decided otherwise.

    Worker processes inherit both.

    Raises:
        UserError: ``threads`` is not a positive whole number.
    """
    if not {"OMP_WAIT_POLICY", *_WAITING} & os.environ.keys():
        os.environ.update(_WAITING)
    if threads is None:
        return
    if not (threads.isascii() and threads.isdigit() and int(threads)):
        raise UserError(f"--threads is {threads!r}: it should be a whole number from 1.")
    os.environ["OMP_NUM_THREADS"] = threads
    if "torch" in sys.modules:  # its variables are read already
        sys.modules["torch"].set_num_threads(int(threads))


def yield_to_others() -> None:
    """On a machine with a battery, lower the priority of this process, unless it was started with another already.

    Somebody sits in front of it. Where nothing else wants the processor, that costs no time.
    """
    if hasattr(os, "nice") and os.nice(0) == 0 and _has_battery():
        os.nice(_NICENESS)


def _has_battery() -> bool:
    import psutil

    return getattr(psutil, "sensors_battery", lambda: None)() is not None
