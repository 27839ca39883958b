"""Commands in a Ray cluster: each a task that starts a process, retried where a node dies.

Every node needs this package and the study's folder under the same path, as on a shared file system.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError

from response_tuning.study.running.contract import Ended, Job, JobFuture
from response_tuning.study.running.run_job import InSubprocess, run_job
from response_tuning.support.errors import UserError

__all__ = ["RayExecutor"]

_LOCAL = "local"
_OBJECT_STORE_BYTES = 100_000_000
"""Small: tasks pass each other a few words."""
_RETRIES = 3
"""How often a command starts again whose node died."""
_FAILED = 1


class _RayFuture:
    """A task of Ray as a future."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference

    def done(self) -> bool:
        """Whether the task has ended."""
        return bool(ray.wait([self.reference], timeout=0)[0])

    def result(self) -> Ended:
        """How it ended; a task that Ray gave up is a failure with Ray's reason."""
        try:
            return Ended(**ray.get(self.reference))
        except TaskCancelledError:
            return Ended(exit_code=None, reason="it was not started")
        except RayError as error:
            return Ended(exit_code=_FAILED, reason=f"Ray: {str(error).strip().splitlines()[0]}")


class RayExecutor:
    """Submits every command at once; Ray starts each when what it follows has ended and its node has what it needs."""

    poll_seconds = 0.2

    def __init__(self, address: str = _LOCAL) -> None:
        """Connect to a cluster, or start one here.

        Args:
            address: of a cluster; "auto" for the one that runs on this machine; "local" to start one.

        Raises:
            UserError: there is no cluster at this address.
        """
        self._started = not ray.is_initialized()
        try:
            if self._started:
                local = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
                ray.init(
                    address=None if address == _LOCAL else address,
                    log_to_driver=False,
                    **(local if address == _LOCAL else {}),
                )
        except (ConnectionError, ValueError) as error:
            raise UserError(f"--ray-address {address}: {error}") from error
        self._gpus = int(ray.cluster_resources().get("GPU", 0))
        self._futures: list[_RayFuture] = []

    def submit(self, job: Job, *, gpus: int, memory_bytes: int, after: Sequence[JobFuture]) -> JobFuture:
        """As ``Executor.submit``. Without GPUs, a command has a node to itself."""
        wanted = {"num_gpus": gpus, "num_cpus": 1} if self._gpus else {"num_cpus": self._cpus_of_a_node()}
        if memory_bytes:
            wanted["memory"] = memory_bytes
        task = ray.remote(max_retries=_RETRIES, **wanted)(_run)
        future = _RayFuture(task.remote(asdict(job), *(one.reference for one in after if isinstance(one, _RayFuture))))
        self._futures.append(future)
        return future

    def interrupt(self) -> None:
        """Cancel every task; one at work passes that on to its command."""
        self._cancel(force=False)

    def kill(self) -> None:
        """End every task now."""
        self._cancel(force=True)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started:
            ray.shutdown()

    def _cancel(self, *, force: bool) -> None:
        for future in self._futures:
            if not future.done():
                ray.cancel(future.reference, force=force)

    @staticmethod
    def _cpus_of_a_node() -> float:
        """Of the smallest node that has any."""
        cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        return float(min((count for count in cpus if count), default=1))


def _run(values: dict[str, Any], *parents: dict[str, Any]) -> dict[str, Any]:
    """The task: run the command, unless one that it follows has failed."""
    import signal

    if not all(Ended(**parent).succeeded for parent in parents):
        return asdict(Ended(exit_code=None, reason="what it needs has failed"))
    job = Job(**{**values, "words": tuple(values["words"]), "proofs": tuple(values["proofs"])})
    execute = InSubprocess(signal.SIGINT)
    return asdict(run_job(job, execute))
