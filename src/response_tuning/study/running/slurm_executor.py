"""Commands under Slurm, by submitit: arrays of commands that wait for others, requeued after preemption.

Every node needs this package and the study's folder under the same path, as on a shared file system.
"""

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission

from response_tuning.study.running.contract import Ended, Job, JobFuture
from response_tuning.study.running.records import read_record
from response_tuning.study.running.run_job import InSubprocess, run_job
from response_tuning.support.errors import UserError

__all__ = ["SlurmExecutor"]

_FAILED = 1
_MUST_WAIT = Ended(exit_code=None, reason="what it needs has failed")
_NOT_STARTED = Ended(exit_code=None, reason="it was not started")


@dataclass(eq=False)
class _SlurmFuture:
    """A command that is in an array, or will be in the next."""

    executor: "SlurmExecutor"
    job: Job
    gpus: int
    memory_bytes: int
    after: Sequence["_SlurmFuture"]
    submitted: Any = None
    is_cancelled: bool = False
    depth: int = field(init=False)
    """One more than the deepest that it follows: commands of equal depth form an array."""

    def __post_init__(self) -> None:
        self.depth = 1 + max((one.depth for one in self.after), default=0)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended or will not start."""
        return self.is_cancelled or (self.submitted is not None and bool(self.submitted.done()))

    def done(self) -> bool:
        """Whether it has ended, once everything that can be is submitted."""
        self.executor.flush()
        return self.has_ended

    def result(self) -> Ended:
        """How it ended; a job that Slurm ended is a failure with its state."""
        if self.is_cancelled:
            return _NOT_STARTED
        self.executor.flush()
        try:
            ended = self.submitted.result()
        except Exception as error:  # submitit raises whatever the job did, or that it is gone
            return Ended(exit_code=_FAILED, reason=f"Slurm: {str(error).strip().splitlines()[0]}")
        assert isinstance(ended, Ended)
        return ended


class SlurmExecutor:
    """Gathers commands and submits them as arrays, by how many commands precede each."""

    poll_seconds = 2.0

    def __init__(
        self,
        folder: Path | str,
        *,
        partition: str | None = None,
        minutes: int = 24 * 60,
        setup: Sequence[str] = (),
        cluster: str = "slurm",
    ) -> None:
        """Prepare to submit.

        Args:
            folder: where submitit keeps its scripts and outputs, in ``slurm/`` there.
            partition: the partition; None for the cluster's default.
            minutes: how long a command may take.
            setup: shell commands before each command.
            cluster: "slurm"; "local" runs here without it, to try it out.

        Raises:
            UserError: Slurm is not installed here.
        """
        try:
            self._executor = submitit.AutoExecutor(folder=Path(folder) / "slurm", cluster=cluster)
        except RuntimeError as error:
            raise UserError(f"--executor slurm: {error}") from error
        self._partition, self._minutes, self._setup = partition, minutes, [*setup]
        self._knows_dependencies = cluster == "slurm"
        self._gathered: list[_SlurmFuture] = []
        self._futures: list[_SlurmFuture] = []

    def submit(self, job: Job, *, gpus: int, memory_bytes: int, after: Sequence[JobFuture]) -> JobFuture:
        """As ``Executor.submit``; the arrays are submitted when the first future is asked for."""
        before = [one for one in after if isinstance(one, _SlurmFuture)]
        future = _SlurmFuture(self, job, gpus, memory_bytes, before)
        self._gathered.append(future)
        self._futures.append(future)
        return future

    def flush(self) -> None:
        """Submit what was gathered: an array for each depth and each need, the shallow ones first."""
        ready = [one for one in self._gathered if self._knows_dependencies or all(each.has_ended for each in one.after)]
        self._gathered = [one for one in self._gathered if one not in ready]
        groups: dict[tuple[int, int, int], list[_SlurmFuture]] = {}
        for one in ready:
            groups.setdefault((one.depth, one.gpus, one.memory_bytes), []).append(one)
        for (_, gpus, memory_bytes), members in sorted(groups.items(), key=lambda group: group[0]):
            self._parameters(gpus, memory_bytes, members)
            with self._executor.batch():
                for one in members:
                    one.submitted = self._executor.submit(_Task(), one.job, [each.job for each in one.after])

    def interrupt(self) -> None:
        """Cancel what waits, and let commands at work stop where they can be resumed."""
        for one in self._gathered:
            one.is_cancelled = True
        self._gathered = []
        for one in self._futures:
            if one.submitted is not None and not one.submitted.done():
                one.submitted.cancel()
                one.is_cancelled = True

    def kill(self) -> None:
        """As ``interrupt``: Slurm ends a command that does not stop."""
        self.interrupt()

    def close(self) -> None:
        """Nothing is held: what was submitted goes its way."""

    def _parameters(self, gpus: int, memory_bytes: int, members: Sequence[_SlurmFuture]) -> None:
        needed = sorted({each.submitted.job_id.partition("_")[0] for one in members for each in one.after})
        additional: dict[str, Any] = {"requeue": True}
        if needed:
            # After any end: a command looks itself whether what it needs has succeeded, and is then recorded.
            additional |= {"dependency": "afterany:" + ":".join(needed)}
        slurm: dict[str, Any] = {"slurm_additional_parameters": additional, "slurm_setup": self._setup or None}
        if self._partition:
            slurm["slurm_partition"] = self._partition
        if memory_bytes:
            slurm["mem_gb"] = memory_bytes / 1e9
        self._executor.update_parameters(
            timeout_min=self._minutes, gpus_per_node=gpus, tasks_per_node=1, name="rt-study", **slurm
        )


class _Task:
    """What a job of Slurm runs: one command, after the others."""

    def __init__(self) -> None:
        self._execute = InSubprocess(signal.SIGTERM)

    def __call__(self, job: Job, parents: Sequence[Job]) -> Ended:
        """Run the command, unless one that it follows has failed."""
        records = [read_record(Path(parent.folder), parent.key) for parent in parents]
        if not all(record is not None and record.state == "done" for record in records):
            return _MUST_WAIT
        return run_job(job, self._execute)

    def checkpoint(self, job: Job, parents: Sequence[Job]) -> DelayedSubmission:
        """Called by submitit before a preempted job is requeued: let the command save where it is."""
        self._execute.stop()
        return DelayedSubmission(_Task(), job, parents)
