"""A command whose memory runs out in the third step: ``python -m ... BYTES ARGUMENTS``.

From there on, so many more bytes of address space can be allocated: the next large allocation fails for real.
"""

import ctypes
import resource
import sys
from pathlib import Path
from typing import Any

from response_tuning.cli.main import main
from response_tuning.training import loop
from response_tuning.training.step import take_step

_STEP = 3
_MMAP_THRESHOLD = -3  # of glibc's mallopt


def _run(more_bytes: int, arguments: list[str]) -> int:
    # What earlier steps freed goes back to the system, and is no reserve.
    ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 17)
    taken = 0

    def limited(*positional: Any, **named: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken == _STEP:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes, resource.RLIM_INFINITY))
        return take_step(*positional, **named)

    loop.__dict__["take_step"] = limited
    code = main(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return code


if __name__ == "__main__":
    sys.exit(_run(int(sys.argv[1]), sys.argv[2:]))
