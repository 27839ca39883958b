"""Run the command of one stage: once, under its lock, with a log and a record. Every executor ends up here."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from response_tuning.study.running.contract import Ended, Job
from response_tuning.study.running.records import (
    Record,
    exists_one,
    held,
    lock_path,
    log_path,
    read_record,
    write_record,
)
from response_tuning.support.files import make_folder
from response_tuning.support.platforms import KILL, peak_bytes

__all__ = ["Attempt", "Execute", "InSubprocess", "run_job"]

INTERRUPTED = 130
"""The exit code of ``rt`` after Ctrl-C or SIGTERM."""
_STOPPED_BY = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Attempt:
    """A command that ran."""

    exit_code: int
    peak_memory_bytes: int = 0


Execute = Callable[[Job, int, int], Attempt]
"""Runs a job's command, given the descriptors of its log and of its lock, which the command inherits."""


def run_job(job: Job, execute: Execute) -> Ended:
    """Run a job, unless its result is there; returns how it ended, and records that.

    Args:
        job: the command.
        execute: runs it.
    """
    folder = Path(job.folder)
    with held(lock_path(folder, job.key)) as lock:
        before = read_record(folder, job.key)
        if before is not None and before.state == "done" and exists_one(folder, job.proofs):
            return Ended(exit_code=0, seconds=before.seconds)
        attempts = 1 if before is None else before.attempts + 1
        record = Record(key=job.key, name=job.name, state="running", host=socket.gethostname(), attempts=attempts)
        write_record(folder, record)
        started = time.perf_counter()
        log = _opened_log(job)
        try:
            attempt = execute(job, log, lock)
        finally:
            os.close(log)
        ended = _ended(job, attempt.exit_code, round(time.perf_counter() - started, 2))
        state = "done" if ended.succeeded else "interrupted" if _was_interrupted(attempt.exit_code) else "failed"
        write_record(
            folder,
            record.model_copy(
                update={
                    "state": state,
                    "exit_code": ended.exit_code,
                    "reason": ended.reason,
                    # A resumed command took the time of all its attempts.
                    "seconds": ended.seconds + (before.seconds if before and before.state != "done" else 0.0),
                    "peak_memory_bytes": attempt.peak_memory_bytes,
                }
            ),
        )
        return ended


def _was_interrupted(exit_code: int) -> bool:
    return exit_code == INTERRUPTED or -exit_code in _STOPPED_BY


def _ended(job: Job, exit_code: int, seconds: float) -> Ended:
    reason = ""
    if exit_code == 0 and not exists_one(Path(job.folder), job.proofs):
        reason = f"it ended without its result, {' or '.join(job.proofs)}"
    elif exit_code == -KILL:
        reason = "it was killed, as the system does when memory runs out"
    elif exit_code < 0:
        with suppress(ValueError):
            reason = f"it was ended by {signal.Signals(-exit_code).name}"
    return Ended(exit_code=exit_code, reason=reason, seconds=seconds)


def _opened_log(job: Job) -> int:
    path = log_path(Path(job.folder), job.name)
    make_folder(path.parent)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(log, f"$ rt {shlex.join(job.words)}\n".encode())
    return log


class InSubprocess:
    """Runs each command in a new process of Python."""

    def __init__(self, when_interrupted: signal.Signals = signal.SIGINT) -> None:
        """Prepare to run one command at a time.

        Args:
            when_interrupted: the signal that a command gets when whoever waits for it is interrupted.
        """
        self._process: subprocess.Popen[bytes] | None = None
        self._when_interrupted = when_interrupted

    def __call__(self, job: Job, log: int, lock: int) -> Attempt:
        """Run a command and wait for it."""
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "response_tuning", *job.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job.working_directory,
            env={**os.environ, **job.environment},
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C in the terminal goes to the driver, which passes it on
        )
        try:
            return _waited_for(process)
        except KeyboardInterrupt:
            self.send(self._when_interrupted)
            return _waited_for(process)
        finally:
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the command that runs now, if one does."""
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    def stop(self) -> None:
        """Interrupt the command that runs now, and wait until it has stopped."""
        process = self._process
        if process is not None:
            self.send(self._when_interrupted)
            process.wait()


def _waited_for(process: "subprocess.Popen[bytes]") -> Attempt:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Attempt(process.returncode, peak_bytes(usage.ru_maxrss))
