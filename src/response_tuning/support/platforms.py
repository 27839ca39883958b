"""What differs between operating systems: file locks, memory, signals, and what only Linux and macOS can do.

No other module imports ``fcntl`` or ``resource``, so that everything can be imported on Windows
(``tests/support/test_platforms.py``).
"""

import signal
import sys
from typing import TYPE_CHECKING

from response_tuning.support.errors import UserError

if TYPE_CHECKING:
    from typing import IO, Any

__all__ = ["KILL", "data_limit_bytes", "lock", "peak_bytes", "peak_memory_bytes", "require_unix"]

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)
"""The signal that ends a process at once; Windows has one that does so under another name."""


def require_unix(purpose: str) -> None:
    """Require an operating system with forks, process groups and advisory file locks.

    Args:
        purpose: what needs it, as the beginning of a sentence: "rt study run".

    Raises:
        UserError: this is Windows.
    """
    if sys.platform == "win32":
        raise UserError(f"{purpose} needs Linux or macOS. On Windows, use the Windows Subsystem for Linux.")


def lock(file: "int | IO[Any]", *, wait: bool = True) -> bool:
    """Lock an open file against other processes until it is closed.

    Args:
        file: the file, or its descriptor.
        wait: whether to wait until no other process holds it.

    Returns:
        Whether this process holds the lock now: always, unless ``wait`` is false.

    Raises:
        UserError: this is Windows.
    """
    require_unix("A study's lock")
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def data_limit_bytes() -> int | None:
    """The most memory that the system lets this process allocate (``ulimit -d``); None where there is no limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if limit == resource.RLIM_INFINITY else limit


def peak_memory_bytes() -> int:
    """The most physical memory that this process has had at once."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        import psutil

        return int(getattr(psutil.Process().memory_info(), "peak_wset"))  # noqa: B009  # other systems have no such field
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_bytes(maximum: int) -> int:
    """A process's peak memory as the system counts it (``ru_maxrss``), in bytes: macOS counts bytes, Linux KiB."""
    return maximum if sys.platform == "darwin" else maximum * 1024
