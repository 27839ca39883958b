"""``--micro-batch-tokens auto``: what fits a GPU, and 1,024 elsewhere."""

from pathlib import Path

import pytest
import torch

from response_tuning.example import Example, write_examples
from response_tuning.models.load import load_model_config
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import changed, written_options
from response_tuning.training import trainer
from response_tuning.training.planning import micro_batch
from response_tuning.training.planning.micro_batch import fitting_tokens, micro_batch_tokens, planned_bytes
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

MEGABYTE = 2**20


@pytest.mark.parametrize(
    ("budget", "most", "expected"),
    [
        (80_000, 10**6, 65_536),  # 76 GB for activations, at 1 MB a token: the most there is
        (20_000, 10**6, 8_192),
        (20_000, 3_000, 4_096),  # the whole step fits into that
        (20_000, 100, 1_024),
        (10, 10**6, 1_024),  # does not fit at all: the error that follows names the setting to change
    ],
)
def test_the_largest_power_of_two_within_the_memory(budget: int, most: int, expected: int) -> None:
    weights = 4_000 * MEGABYTE

    def bytes_of(tokens: int) -> int:
        return weights + tokens * MEGABYTE

    assert fitting_tokens(bytes_of, budget=budget * MEGABYTE, most=most) == expected
    if expected > 1_024:
        assert bytes_of(expected) <= budget * MEGABYTE


def test_the_memory_model_grows_linearly_with_tokens(tmp_path: Path, model_folder: Path) -> None:
    """Two sizes give all others: without a GPU, that of the CPU."""
    config = TrainingConfig(output=tmp_path / "run", model=str(model_folder), dtype="float32", device="cpu")
    model_config = load_model_config(str(model_folder))
    small, large, larger = (
        planned_bytes(config, model_config, tokens, torch.device("cpu")) for tokens in (1024, 2048, 4096)
    )
    assert larger - large == pytest.approx(2 * (large - small), rel=0.1)


def test_a_gpu_gets_more_and_a_cpu_1024(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        total_memory = 10_000 * MEGABYTE

    config = TrainingConfig(output=tmp_path / "run", model=str(model_folder), dtype="float32", device="cpu")
    model_config = load_model_config(str(model_folder))
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: Properties())
    monkeypatch.setattr(micro_batch, "planned_bytes", lambda _config, _model, tokens, _device: tokens * MEGABYTE)
    assert micro_batch_tokens(config, model_config, longest=2048, device=cuda) == 4096
    assert micro_batch_tokens(config, model_config, longest=64, device=cuda) == 1024
    assert micro_batch_tokens(config, model_config, longest=2048, device=cpu) == 1024
    asked = changed(config, micro_batch_tokens=7)
    assert micro_batch_tokens(asked, model_config, longest=2048, device=cuda) == 7


def test_a_run_names_the_number_and_keeps_it(
    tmp_path: Path, model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:3])
    config = TrainingConfig(
        output=tmp_path / "run", model=str(model_folder), data=str(data), dtype="float32", device="cpu", epochs=1
    )
    monkeypatch.setattr(trainer, "micro_batch_tokens", lambda *_arguments, **_options: 300)
    train(config)
    assert written_options(RunDirectory(config.output).config)["micro_batch_tokens"] == 300
    assert trainer.resolve(config).batches.micro_batch_tokens == 300
