"""A process that has loaded the libraries, and forks once for each command: ``python -m ...running.worker``.

Reads jobs as lines of JSON, and answers each with how it ended. Each command has a process of its own, so its memory is
given back and a crash concerns it alone, and none of them waits for torch to be imported. Only for a CPU: a process
that uses CUDA must not be forked.

The worker ends when its standard input does, that is with the driver, and lets the command at work stop first.
"""

import importlib
import json
import os
import runpy
import select
import signal
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec

from response_tuning.study.running.contract import Job
from response_tuning.study.running.run_job import Attempt, peak_bytes, run_job

__all__ = ["main"]

_PRELOADED = (
    "response_tuning.training.trainer",
    "response_tuning.evaluation.probe.probe",
    "response_tuning.evaluation.shared.results",
    "inspect_ai.log",
    "sentence_transformers",
)
"""What most commands import."""
_POLL_SECONDS = 0.02
_SIGNALS = {"interrupt": signal.SIGINT, "kill": signal.SIGKILL}
_ERROR = 1


class _Lines:
    """Lines of standard input, read as they arrive: a buffer would hide from ``select`` what it holds."""

    def __init__(self) -> None:
        self._text = b""
        self.ended = False

    def next(self, timeout_seconds: float | None) -> str | None:
        """The next line, or None: within this time there is none, or there are no more."""
        while b"\n" not in self._text and not self.ended:
            if not select.select([0], [], [], timeout_seconds)[0]:
                return None
            read = os.read(0, 1 << 16)
            self._text, self.ended = self._text + read, not read
        line, separator, self._text = self._text.partition(b"\n")
        return line.decode() if separator else None


class _Forking:
    """Runs each command in a fork of this process."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._is_loaded = False

    def __call__(self, job: Job, log: int, lock: int) -> Attempt:
        """Run a command; meanwhile pass on what the driver asks."""
        child = os.fork()
        if child == 0:
            _run_here(job, log, lock)
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                return Attempt(os.waitstatus_to_exitcode(status), peak_bytes(usage.ru_maxrss))
            if self._lines.ended:
                time.sleep(_POLL_SECONDS)
                continue
            asked = self._lines.next(_POLL_SECONDS)
            if asked is not None or self._lines.ended:  # with the driver, the command stops as well
                with suppress(ProcessLookupError):
                    os.kill(child, _SIGNALS.get(asked or "", signal.SIGINT))

    def load(self) -> None:
        """Import what most commands need, once."""
        if self._is_loaded:
            return
        self._is_loaded = True
        for name in _PRELOADED:
            if find_spec(name.partition(".")[0]) is not None:
                # The command itself reports what it cannot import.
                with suppress(Exception):
                    importlib.import_module(name)


def _run_here(job: Job, log: int, lock: int) -> None:
    """Become the command. Never returns."""
    code = _ERROR
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, of in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, of)
        os.set_inheritable(lock, True)  # also for what the command starts
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(job.environment)
        os.chdir(job.working_directory)
        sys.argv = ["rt", *job.words]
        runpy.run_module("response_tuning", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as exit_:
        code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Run jobs until standard input ends."""
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork.*")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints while it is imported is no answer
    lines = _Lines()
    forking = _Forking(lines)
    while (line := lines.next(None)) is not None:
        if line in _SIGNALS:
            continue  # the command that it was meant for has ended
        values = json.loads(line)
        job = Job(**{**values, "words": tuple(values["words"]), "proofs": tuple(values["proofs"])})
        if job.words[0] != "data":
            forking.load()  # before the time of the command begins
        ended = run_job(job, forking)
        with suppress(BrokenPipeError):
            answers.write(json.dumps(asdict(ended)) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
