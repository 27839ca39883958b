"""What an executor is: it takes commands with what they need, and says how each ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Ended", "Executor", "Job", "JobFuture"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command, and where its log and its record are. It can be sent to another process as JSON."""

    key: str
    words: tuple[str, ...]
    """What follows ``rt``."""
    folder: str
    """The study's folder."""
    name: str
    """Where the result is, in the study's folder."""
    proofs: tuple[str, ...]
    """Paths in the study's folder, one of which exists once the command has finished."""
    working_directory: str
    """Where relative paths in the words begin."""
    environment: dict[str, str] = field(default_factory=dict)
    """Further variables."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: int | None
    """0 after success, negative after a signal; None for a command that was not started."""
    reason: str = ""
    """Why it failed, where the exit code does not say."""
    seconds: float = 0.0

    @property
    def succeeded(self) -> bool:
        """Whether its result is there."""
        return self.exit_code == 0 and not self.reason


class JobFuture(Protocol):
    """A command that was submitted."""

    def done(self) -> bool:
        """Whether it has ended."""
        ...

    def result(self) -> Ended:
        """How it ended; waits for that. A command of which one that it follows failed is not started."""
        ...


class Executor(Protocol):
    """Where commands run: on this machine, in a Ray cluster, under Slurm.

    The smallest one runs each command at once::

        class AtOnce:
            poll_seconds = 0.0

            def submit(self, job, *, gpus, memory_bytes, after):
                future = Future()
                future.set_result(run_job(job))
                return future

            def interrupt(self): ...
            def kill(self): ...
            def close(self): ...
    """

    @property
    def poll_seconds(self) -> float:
        """How often to ask whether a command has ended."""
        ...

    def submit(self, job: Job, *, gpus: int, memory_bytes: int, after: Sequence[JobFuture]) -> JobFuture:
        """Run a command once those in ``after`` have succeeded.

        Args:
            job: the command.
            gpus: how many it computes on, where there are any.
            memory_bytes: how much main memory it takes; 0 where that is not known.
            after: futures of this executor.
        """
        ...

    def interrupt(self) -> None:
        """Start no further command, and ask those at work to stop where they can be resumed."""
        ...

    def kill(self) -> None:
        """End those at work now."""
        ...

    def close(self) -> None:
        """Give back what the executor holds."""
        ...
