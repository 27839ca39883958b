"""Presets: the papers' settings, under whatever is given."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from response_tuning.example import Example, write_examples
from response_tuning.support.configuration import changed, flatten
from response_tuning.training.presets import PresetName, preset_values
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


def test_paper_is_an_and_kims_setting() -> None:
    config = TrainingConfig(output=Path("x"), preset="paper")
    assert (
        config.adapter.tuning,
        config.adapter.lora_rank,
        config.adapter.lora_alpha,
        config.adapter.lora_dropout,
    ) == ("qlora", 64, 16, 0.1)
    assert (config.optimization.schedule, config.optimization.warmup_share, config.optimization.learning_rate) == (
        "constant",
        0.0,
        1e-4,
    )
    assert (
        config.batches.batch_size,
        config.batches.epochs,
        config.optimization.max_gradient_norm,
        config.encoding.max_length,
    ) == (64, 10, 0.3, 2048)
    assert (config.memory.dtype, config.memory.gradient_checkpointing, config.optimization.optimizer, config.seed) == (
        "bfloat16",
        True,
        "paged",
        0,
    )
    assert (config.encoding.rt_prefix, config.encoding.overlong) == ("none", "truncate")


def test_hewitt_is_hewitt_et_als_setting() -> None:
    config = TrainingConfig(output=Path("x"), preset="hewitt")
    assert (config.adapter.tuning, config.encoding.rt_prefix, config.memory.dtype) == ("full", "empty_user", "bfloat16")
    assert (config.optimization.schedule, config.optimization.warmup_share, config.optimization.learning_rate) == (
        "linear",
        0.03,
        1e-5,
    )
    assert (
        config.batches.batch_size,
        config.batches.epochs,
        config.encoding.max_length,
        config.optimization.weight_decay,
    ) == (64, 5, 2048, 0.0)


def test_sftmix_is_xiao_et_als_setting() -> None:
    config = TrainingConfig(output=Path("x"), preset="sftmix", sftmix_from="runs/first")
    assert (config.adapter.tuning, config.optimization.schedule) == ("full", "cosine")
    assert (
        config.optimization.learning_rate,
        config.optimization.weight_decay,
        config.optimization.warmup_share,
        config.batches.batch_size,
        config.batches.epochs,
    ) == (2e-6, 0.1, 0.1, 32, 3)
    assert (config.sftmix.sftmix_weight, config.sftmix.sftmix_alpha, config.sftmix.sftmix_pairing) == (
        0.2,
        0.5,
        "random",
    )
    assert config.checkpoints.keep_perplexities


def test_options_come_before_a_preset_even_where_they_equal_the_usual_default() -> None:
    usual = TrainingConfig(output=Path("x"))
    config = TrainingConfig(
        output=Path("x"),
        preset="paper",
        learning_rate=usual.optimization.learning_rate,
        gradient_checkpointing=False,
        seed=7,
    )
    assert (config.optimization.learning_rate, config.memory.gradient_checkpointing, config.seed) == (2e-4, False, 7)
    assert config.adapter.lora_rank == 64


def test_no_preset_changes_nothing() -> None:
    explicit = TrainingConfig(output=Path("x"), preset="none")
    assert explicit == TrainingConfig(output=Path("x"))
    assert (
        explicit.adapter.tuning,
        explicit.adapter.lora_rank,
        explicit.validation.held_out,
        explicit.regularization.neftune_alpha,
    ) == ("lora", 16, "", 0.0)


@pytest.mark.parametrize("name", [name for name in get_args(PresetName) if name != "none"])
def test_a_preset_sets_options_that_exist_to_values_that_fit(name: PresetName) -> None:
    values = preset_values(name)
    assert values
    written = flatten(TrainingConfig(output=Path("x"), preset=name))
    assert {option: written[option] for option in values} == values


@pytest.mark.parametrize("name", [name for name in get_args(PresetName) if name != "none"])
def test_a_preset_trains_and_the_run_holds_what_repeats_it(
    tmp_path: Path, model_folder: Path, examples: list[Example], name: PresetName
) -> None:
    if name == "paper":
        pytest.importorskip("bitsandbytes")
    write_examples(tmp_path / "data.jsonl", examples[:8])
    config = TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(tmp_path / "data.jsonl"),
        preset=name,
        device="cpu",
        epochs=2,
    )
    run = train(config)
    assert run.is_trained
    written = yaml.safe_load(run.config.read_text())
    assert written["learning_rate"] == preset_values(name)["learning_rate"]
    assert TrainingConfig(**written) == changed(config, format="tulu", micro_batch_tokens=1024)
