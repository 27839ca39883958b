"""Ray and Slurm behind the same protocol: dependencies, failures, and a node that dies. Skipped where not installed."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from response_tuning.example import Example, write_examples
from response_tuning.study.running.contract import Executor, Job, JobFuture
from response_tuning.study.running.records import read_record

pytestmark = pytest.mark.slow


def submitted(executor: Executor, folder: Path, key: str, source: str, *after: JobFuture) -> JobFuture:
    """A command that prepares data: no model is loaded."""
    job = Job(
        key=key,
        words=("data", "prepare", source, "--output", f"{folder}/{key}.jsonl"),
        folder=str(folder),
        name=key,
        proofs=(f"{key}.jsonl",),
        working_directory=str(folder),
    )
    return executor.submit(job, gpus=0, memory_bytes=0, after=after)


def check_a_chain(executor: Executor, folder: Path, examples: list[Example]) -> None:
    """What follows a success runs after it, what follows a failure does not."""
    write_examples(folder / "in.jsonl", examples[:4])
    good = submitted(executor, folder, "good", "in.jsonl")
    follows = submitted(executor, folder, "follows", f"{folder}/good.jsonl", good)
    bad = submitted(executor, folder, "bad", "missing.jsonl")
    blocked = submitted(executor, folder, "blocked", "in.jsonl", bad)
    futures = (good, follows, bad, blocked)
    while not all(future.done() for future in futures):
        time.sleep(executor.poll_seconds)
    assert [future.result().exit_code for future in futures] == [0, 0, 2, None]
    record = read_record(folder, "follows")
    assert record is not None and record.state == "done"


@pytest.fixture
def ray_cluster() -> Any:
    """Two nodes of a Ray cluster on this machine."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_ray_runs_commands_in_order_on_an_existing_cluster(
    ray_cluster: Any, tmp_path: Path, examples: list[Example]
) -> None:
    from response_tuning.study.running.ray_executor import RayExecutor

    executor = RayExecutor(ray_cluster.address)
    check_a_chain(executor, tmp_path, examples)
    executor.close()


def test_submitit_runs_commands_in_order(tmp_path: Path, examples: list[Example]) -> None:
    """With submitit's executor for one machine, which needs no Slurm."""
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from response_tuning.study.running.slurm_executor import SlurmExecutor

    executor = SlurmExecutor(tmp_path, cluster="local")
    check_a_chain(executor, tmp_path, examples)
    executor.close()


def test_without_slurm_one_sentence_says_so(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    if shutil.which("srun"):
        pytest.skip("Slurm is installed here")
    from response_tuning.study.running.slurm_executor import SlurmExecutor
    from response_tuning.support.errors import UserError

    with pytest.raises(UserError, match=r"--executor slurm: .*slurm"):
        SlurmExecutor(tmp_path)
