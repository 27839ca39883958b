"""The executors by name, each with the extra that it needs."""

from response_tuning.study.running.contract import Executor
from response_tuning.study.running.local import LocalExecutor
from response_tuning.study.study_options import RunStudyOptions
from response_tuning.support.extras import require_extra

__all__ = ["make_executor"]


def make_executor(options: RunStudyOptions) -> Executor:
    """The executor that ``options`` name.

    Raises:
        UserError: its package is not installed, or it cannot be reached.
    """
    if options.executor == "ray":
        require_extra("ray", "ray", purpose="--executor ray")
        from response_tuning.study.running.ray_executor import RayExecutor

        return RayExecutor(options.ray_address)
    if options.executor == "slurm":
        require_extra("submitit", "slurm", purpose="--executor slurm")
        from response_tuning.study.running.slurm_executor import SlurmExecutor

        return SlurmExecutor(
            options.output or "studies",
            partition=options.slurm_partition,
            minutes=options.slurm_minutes,
            setup=options.slurm_setup,
        )
    return LocalExecutor()
