"""Which strategy a training takes."""

from accelerate import Accelerator

from response_tuning.support.progress import warn
from response_tuning.training.parallel.contract import Strategy
from response_tuning.training.parallel.fsdp import FullySharded
from response_tuning.training.parallel.replicated import Replicated
from response_tuning.training.training_config import TrainingConfig

__all__ = ["make_strategy"]


def make_strategy(config: TrainingConfig, accelerator: Accelerator) -> Strategy:
    """The strategy that ``--sharding`` asks for. In a single process there is nothing to shard, which is logged, unless
    the one shard is offloaded."""
    sharding = config.parallel.sharding
    if sharding != "none" and (accelerator.num_processes > 1 or config.parallel.offload == "cpu"):
        narrow = config.adapter.tuning == "full" and config.memory.dtype == "bfloat16"
        return FullySharded(accelerator, config.parallel, narrow=narrow)
    if sharding != "none":
        warn(f"note: --sharding {sharding} does nothing in one process. See --gpus and --processes.")
    return Replicated(accelerator)
