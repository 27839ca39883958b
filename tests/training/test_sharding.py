"""Weights spread over processes: the same training as in one process, with about half of them in each of two."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from response_tuning.data.example import Example, write_examples
from response_tuning.errors import UserError
from response_tuning.training.config import TrainingConfig
from response_tuning.training.trainer import resolve, train
from tests.training.test_distributed import assert_same_training

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """Six fp32 steps of the tiny model. The micro-batches are small, so one process has more of them than the other; and
    the last batch of an epoch holds one example, so one has none."""
    data, held_out = tmp_path / "data.jsonl", tmp_path / "held_out.jsonl"
    write_examples(data, examples[:11])
    write_examples(held_out, examples[11:14])
    return TrainingConfig(
        output=tmp_path / "alone",
        model=str(model_folder),
        data=str(data),
        held_out=str(held_out),
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=5,
        lora_rank=3,
        learning_rate=1e-3,
        micro_batch_tokens=200,
        # Short enough that every gradient is clipped, by the norm of the whole.
        max_gradient_norm=0.1,
    )


def changed(config: TrainingConfig, **options: Any) -> TrainingConfig:
    return config.model_copy(update=options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharding", "options"),
    [
        ("zero3", {"tuning": "lora", "packing": "on"}),
        ("zero2", {"tuning": "lora", "packing": "off", "processes": 3}),
        ("zero3", {"tuning": "dora", "packing": "off", "gradient_checkpointing": True}),
        ("zero2", {"tuning": "full", "packing": "on"}),
        ("zero3", {"tuning": "full", "packing": "off"}),
    ],
)
def test_sharded_processes_train_what_one_does(
    config: TrainingConfig, tmp_path: Path, sharding: str, options: dict[str, Any]
) -> None:
    alone = train(changed(config, **options | {"processes": 1}))
    together = train(changed(config, **{"processes": 2} | options, output=tmp_path / "together", sharding=sharding))
    assert_same_training(alone.path, together.path)


def test_what_cannot_be_sharded_is_refused_with_a_reason(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match="cannot spread the 4-bit weights of --tuning qlora: bitsandbytes keeps"):
        resolve(changed(config, sharding="zero3", tuning="qlora"))
    with pytest.raises(UserError, match="--optimizer paged cannot keep moments that --sharding zero2"):
        resolve(changed(config, sharding="zero2", optimizer="paged"))
    assert resolve(changed(config, tuning="qlora", optimizer="paged")).sharding == "none"
