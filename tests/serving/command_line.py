"""``rt serve`` as a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep

__all__ = ["Process", "rt_serve"]


@dataclass
class Process:
    """The running command and what it has printed."""

    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None
    """Collects the lines until the process has closed its streams."""

    @property
    def printed(self) -> str:
        """Both streams so far."""
        return "".join(self.lines)

    def url(self, *, seconds: float = 90) -> str:
        """The address, once it serves."""
        end = monotonic() + seconds
        while monotonic() < end and self.process.poll() is None:
            found = re.search(r"In the browser: (http://\S+)/ ", self.printed)
            if found:
                return found[1]
            sleep(0.05)
        raise AssertionError(f"it does not serve:\n{self.printed}")

    def interrupt(self) -> float:
        """Ctrl-C; returns the seconds until the process has ended."""
        begin = monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        seconds = monotonic() - begin
        if self.reader is not None:
            self.reader.join(timeout=10)
        return seconds


@contextmanager
def rt_serve(*arguments: str) -> Iterator[Process]:
    """Run the command until the block ends."""
    command = [sys.executable, "-m", "response_tuning", "serve", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    running = Process(process)
    assert process.stdout is not None
    running.reader = reader = threading.Thread(target=lambda: running.lines.extend(process.stdout or []), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join()
