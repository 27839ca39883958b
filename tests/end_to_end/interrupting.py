"""Runs a command that is interrupted many times: ``python -m tests.end_to_end.interrupting JOB.json``.

Every run is a fork of a process that has loaded the libraries. In turn, it is killed with SIGKILL at a random moment,
and its disk is full at a random byte: a limit on the size of files cuts a write short there. The last run is left
alone. Prints the exit code of each as JSON; a traceback of an interrupted one ends it.
"""

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from response_tuning.cli.main import main

_LONGEST_WAIT_SECONDS = 0.03
_BYTES_BETWEEN = 1_500


@dataclass(frozen=True)
class Job:
    """A command and how it is interrupted."""

    arguments: list[str]
    moments: int
    """How often it is killed, and how often its disk is full."""
    folder: str
    """Where the command writes."""
    imports: list[str]
    """Modules that every run needs."""


def _sizes(folder: Path) -> list[int]:
    sizes = []
    for parent, _, names in os.walk(folder):  # which passes over a folder that is renamed meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append((Path(parent) / name).stat().st_size)
    return sizes


def _start(job: Job, *, largest_file: int | None = None) -> tuple[int, int]:
    """Start a run; returns its process, and where its errors are read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    os.dup2(writing, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    code = 99
    try:
        code = main(job.arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _kill_after(child: int, folder: Path, more_bytes: int, wait_seconds: float) -> int:
    aim = sum(_sizes(folder)) + more_bytes
    while sum(_sizes(folder)) < aim:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    time.sleep(wait_seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(job: Job) -> list[int]:
    for name in job.imports:
        __import__(name)
    generator = random.Random(0)
    folder = Path(job.folder)
    codes: list[int] = []
    for moment in range(2 * job.moments):
        more = generator.randrange(1, _BYTES_BETWEEN)
        if moment % 2 == 0:
            child, errors = _start(job)
            codes.append(_kill_after(child, folder, more, generator.random() * _LONGEST_WAIT_SECONDS))
        else:
            child, errors = _start(job, largest_file=max(_sizes(folder), default=0) + more)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        said = _read(errors)
        assert codes[-1] in (0, 2, -signal.SIGKILL) and "Traceback" not in said, (codes, said)
    child, errors = _start(job)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert codes[-1] == 0, _read(errors)
    return codes


def _read(errors: int) -> str:
    """What a run that has ended printed; it fits into the pipe."""
    with open(errors, encoding="utf-8", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    print(json.dumps(_run(Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
