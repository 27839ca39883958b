"""An executor for tests: each command at once, in this process."""

import os
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import redirect_stderr, redirect_stdout

from response_tuning.cli.main import main
from response_tuning.study.running.contract import Ended, Job, JobFuture
from response_tuning.study.running.run_job import Attempt, run_job

__all__ = ["AtOnce"]

_NOT_STARTED = Ended(exit_code=None, reason="what it needs has failed")


class AtOnce:
    """Runs each command when it is submitted; nothing is imported or loaded twice."""

    poll_seconds = 0.0

    def __init__(self) -> None:
        self.submitted: list[str] = []

    def submit(self, job: Job, *, gpus: int, memory_bytes: int, after: Sequence[JobFuture]) -> JobFuture:  # noqa: ARG002
        """Run a command now."""
        future: Future[Ended] = Future()
        if all(one.result().succeeded for one in after):
            self.submitted.append(job.name)
            future.set_result(run_job(job, _in_process))
        else:
            future.set_result(_NOT_STARTED)
        return future

    def interrupt(self) -> None:
        """Nothing runs when this is called."""

    def kill(self) -> None:
        """Nothing runs when this is called."""

    def close(self) -> None:
        """Nothing is held."""


def _in_process(job: Job, log: int, _lock: int) -> Attempt:
    with os.fdopen(os.dup(log), "w") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            return Attempt(main(job.words))
        except SystemExit as exit_:
            return Attempt(int(exit_.code or 0))
