"""Commands on this machine: one after the other on a CPU, one per GPU otherwise."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from response_tuning.study.running.contract import Ended, Job, JobFuture
from response_tuning.study.running.run_job import InSubprocess, run_job
from response_tuning.support.platforms import KILL

__all__ = ["LocalExecutor", "devices_here"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ASKED = {signal.SIGINT: "interrupt", KILL: "kill"}
"""What the worker is told."""
_NOT_STARTED = Ended(exit_code=None, reason="it was not started")
_MUST_WAIT = Ended(exit_code=None, reason="what it needs has failed")


def devices_here() -> list[str]:
    """The GPUs that commands may compute on, as CUDA numbers them; none on a CPU."""
    if version("torch").endswith("+cpu"):
        return []
    named = os.environ.get(_VISIBLE)
    if named is not None:
        return [device for device in named.split(",") if device]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


class _Runner(Protocol):
    """Runs one command at a time."""

    def run(self, job: Job) -> Ended: ...
    def send(self, number: signal.Signals) -> None: ...
    def close(self) -> None: ...


class _Subprocesses:
    """Each command in a new process."""

    def __init__(self) -> None:
        self._execute = InSubprocess()

    def run(self, job: Job) -> Ended:
        return run_job(job, self._execute)

    def send(self, number: signal.Signals) -> None:
        self._execute.send(number)

    def close(self) -> None:
        """Nothing is held."""


class _Worker:
    """Each command in a fork of a process that has loaded the libraries (``worker``)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, job: Job) -> Ended:
        process = self._started()
        assert process.stdout is not None
        self._write(json.dumps(asdict(job)))
        answer = process.stdout.readline()
        if not answer:
            code = process.wait()
            self._process = None  # the next command gets a new worker
            return Ended(exit_code=code or 1, reason="the process that ran it was killed")
        return Ended(**json.loads(answer))

    def send(self, number: signal.Signals) -> None:
        self._write(_ASKED[number])

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "response_tuning.study.running.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C in the terminal goes to the driver, which passes it on
            )
        return self._process

    def _write(self, line: str) -> None:
        process = self._process
        if process is not None and process.stdin is not None:
            with suppress(BrokenPipeError, ValueError):
                process.stdin.write(f"{line}\n")
                process.stdin.flush()


@dataclass
class _Waiting:
    """A command that has not begun."""

    job: Job
    gpus: int
    after: Sequence[JobFuture]
    future: "Future[Ended]"


class LocalExecutor:
    """Runs commands here. Those that are ready begin in the order in which they were submitted."""

    poll_seconds = 0.02

    def __init__(self, devices: Sequence[str] | None = None) -> None:
        """Prepare to run commands; nothing is started yet.

        Args:
            devices: the GPUs to use. Defaults to those of this machine; empty for the CPU.
        """
        self._free = list(devices_here() if devices is None else devices)
        self._devices = len(self._free)
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._runners: list[_Runner] = [self._runner() for _ in range(max(1, self._devices))]
        self._threads = [threading.Thread(target=self._work, args=(one,), daemon=True) for one in self._runners]
        self._ends = False
        for thread in self._threads:
            thread.start()

    def _runner(self) -> _Runner:
        forks = not self._devices and sys.platform == "linux"
        return _Worker() if forks else _Subprocesses()

    def submit(self, job: Job, *, gpus: int, memory_bytes: int, after: Sequence[JobFuture]) -> JobFuture:  # noqa: ARG002
        """As ``Executor.submit``; main memory is not shared out, since a CPU has one command at a time."""
        future: Future[Ended] = Future()
        with self._changed:
            self._waiting.append(_Waiting(job, min(gpus, self._devices), after, future))
            self._changed.notify_all()
        return future

    def interrupt(self) -> None:
        """Start nothing more, and let what runs stop where it can be resumed."""
        self._stop(signal.SIGINT)

    def kill(self) -> None:
        """End what runs now."""
        self._stop(KILL)

    def close(self) -> None:
        """End the threads and workers."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for runner in self._runners:
            runner.close()

    def _stop(self, number: signal.Signals) -> None:
        with self._changed:
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for each in waiting:
            each.future.set_result(_NOT_STARTED)
        for runner in self._runners:
            runner.send(number)

    def _work(self, runner: _Runner) -> None:
        while (taken := self._next()) is not None:
            waiting, devices = taken
            try:
                ended = runner.run(replace(waiting.job, environment={_VISIBLE: ",".join(devices)} if devices else {}))
            except Exception as error:  # the other commands go on
                ended = Ended(exit_code=1, reason=f"{type(error).__name__}: {error}")
            with self._changed:
                self._free += devices
                waiting.future.set_result(ended)
                self._changed.notify_all()

    def _next(self) -> tuple[_Waiting, list[str]] | None:
        """The first command that is ready and has its GPUs; None once there is nothing more to do."""
        with self._changed:
            while not self._ends:
                self._drop_those_that_cannot_start()
                for each in self._waiting:
                    if all(one.done() for one in each.after) and each.gpus <= len(self._free):
                        self._waiting.remove(each)
                        devices = [self._free.pop(0) for _ in range(each.gpus)]
                        return each, devices
                self._changed.wait()
            return None

    def _drop_those_that_cannot_start(self) -> None:
        while unable := next((each for each in self._waiting if _has_failed(each.after)), None):
            self._waiting.remove(unable)
            unable.future.set_result(_MUST_WAIT)


def _has_failed(futures: Sequence[JobFuture]) -> bool:
    return any(future.done() and not future.result().succeeded for future in futures)
