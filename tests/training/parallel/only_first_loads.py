"""A training process in which only the first rank can load weights: ``python -m ... CONFIG.yaml``."""

import os
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM

from response_tuning.support.configuration import read_values
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


def _refuse(*_arguments: object, **_options: object) -> None:
    raise AssertionError("another rank than the first loads weights")


if __name__ == "__main__":
    if os.environ["RANK"] != "0":
        AutoModelForCausalLM.from_pretrained = _refuse  # type: ignore[assignment]
    train(TrainingConfig(**read_values(Path(sys.argv[1]), TrainingConfig)))
