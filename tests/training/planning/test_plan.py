"""The plan of a training: counts that are those of the training itself, and memory that grows with what takes it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoConfig, Gemma3TextConfig, PreTrainedConfig

from response_tuning.example import Example, write_examples
from response_tuning.support.configuration import differences, write_config
from response_tuning.support.errors import UserError
from response_tuning.training.planning import plan as planning
from response_tuning.training.planning import plan_memory
from response_tuning.training.planning.plan import Plan, make_plan
from response_tuning.training.planning.plan_memory import MemoryPlan, MicroBatchSize, empty_model
from response_tuning.training.planning.plan_table import plan_table
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import add_adapter, load_base, train_all_weights
from tests.training.conftest import changed


@pytest.fixture
def config(tmp_path: Path, examples: list[Example], model_folder: Path) -> TrainingConfig:
    """Three epochs of five fp32 steps."""
    write_examples(tmp_path / "data.jsonl", examples[:18])
    return TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(tmp_path / "data.jsonl"),
        dtype="float32",
        device="cpu",
        batch_size=4,
        lora_rank=4,
        micro_batch_tokens=300,
    )


def planned(config: TrainingConfig, **options: Any) -> Plan:
    return make_plan(changed(config, **options), seconds=0.2)


def gemma() -> PreTrainedConfig:
    """A Gemma 3 of four layers with a sliding window."""
    return Gemma3TextConfig(
        vocab_size=600,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"],
        sliding_window=64,
    )


def memory(model_config: PreTrainedConfig, config: TrainingConfig, *, rows: int = 2, length: int = 100) -> MemoryPlan:
    largest = MicroBatchSize(rows, length, supervised=rows * length)
    return plan_memory.plan_memory(
        empty_model(model_config, config.adapter, config.memory, torch.device("cpu")),
        config,
        largest,
        shapes=1,
        program=0,
        on_cpu=True,
    )


@pytest.mark.parametrize("tuning", ["lora", "rslora", "dora", "full"])
def test_parameters_are_those_of_the_model_that_is_trained(config: TrainingConfig, tuning: str) -> None:
    config = changed(config, tuning=tuning)
    loaded = load_base(config.model, config.adapter.tuning, dtype="float32", device="cpu")
    base = sum(parameter.numel() for parameter in loaded.model.parameters())
    model = (
        train_all_weights(loaded.model) if tuning == "full" else add_adapter(loaded.model, config.adapter, fused=True)
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    plan = planned(config)
    assert plan.parameters.base == base
    assert plan.parameters.trained == sum(parameter.numel() for parameter in trained)
    assert plan.memory.gradients == sum(parameter.numel() * parameter.element_size() for parameter in trained)
    assert plan.memory.optimizer == 2 * plan.memory.gradients


def test_tokens_and_steps_are_those_that_training_reports(config: TrainingConfig) -> None:
    plan = planned(config, method="it")
    run = train(changed(config, method="it"))
    report = json.loads(run.data_report.read_text())
    log = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    assert plan.tokens.examples == report["rows_kept"]
    assert plan.tokens.prompt == report["prompt_tokens"]
    assert plan.tokens.supervised == report["supervised_tokens"] == log[-1]["supervised_tokens"] // 3
    assert plan.tokens.longest == report["longest_example_tokens"]
    assert (plan.tokens.steps, plan.tokens.all_steps) == (5, len(log))


def test_no_example_that_is_computed_alone_is_padded_and_packed_rows_hardly(config: TrainingConfig) -> None:
    alone = planned(config, micro_batch_tokens=1, packing="off")
    assert alone.tokens.padding == 0
    assert alone.tokens.micro_batches == 18
    padded = planned(config, micro_batch_tokens=10_000, packing="off")
    packed = planned(config, micro_batch_tokens=10_000)
    assert padded.tokens.padding > 0
    assert 0 < packed.tokens.padding < 32 * packed.tokens.micro_batches
    assert sum(packed.largest.examples) == packed.largest.length


def test_a_plan_writes_nothing_and_reads_no_weights(config: TrainingConfig, model_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in model_folder.iterdir():
        if file.suffix != ".safetensors":
            (bare / file.name).write_bytes(file.read_bytes())
    assert planned(config, model=str(bare)).parameters.base == planned(config).parameters.base
    assert not config.output.exists()


def test_activations_grow_with_the_micro_batch_and_shrink_with_checkpointing(config: TrainingConfig) -> None:
    small, large = (memory(gemma(), config, rows=rows).activations for rows in (2, 8))
    assert large == pytest.approx(4 * small, rel=0.2)
    again = memory(gemma(), changed(config, gradient_checkpointing=True), rows=8).activations
    assert again < 0.6 * large


def test_activations_are_what_the_real_pass_holds(config: TrainingConfig) -> None:
    """The storages that autograd saves in a real forward pass, counted one by one."""
    from response_tuning.models.heads import decoder_and_head

    model_config, rows, length = gemma(), 3, 120
    with torch.device("cpu"):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(model_config, dtype=torch.float32).requires_grad_(False)
    adapted = add_adapter(model, config.adapter, fused=True).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in [*adapted.parameters(), *adapted.buffers()]}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        decoder_and_head(adapted)[0](input_ids=torch.zeros((rows, length), dtype=torch.long), use_cache=False)
    counted = memory(model_config, config, rows=rows, length=length).activations
    assert sum(saved.values()) < counted < 1.35 * sum(saved.values())


def test_weights_take_what_their_type_takes(config: TrainingConfig) -> None:
    fp32, bf16 = (memory(gemma(), changed(config, dtype=dtype)).weights for dtype in ("float32", "bfloat16"))
    assert bf16 == pytest.approx(fp32 / 2, rel=0.01)
    four_bit = memory(gemma(), changed(config, dtype="bfloat16", tuning="qlora")).weights
    assert four_bit < 0.75 * bf16


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_sharding_divides_what_is_kept_and_adds_what_is_gathered(config: TrainingConfig, tuning: str) -> None:
    config = changed(config, tuning=tuning, processes=4)
    alone = memory(gemma(), config)
    by_step, by_layer = (memory(gemma(), changed(config, sharding=stage)) for stage in ("zero2", "zero3"))
    for part in ("weights", "adapter", "gradients", "optimizer"):
        assert 4 * getattr(by_layer, part) == pytest.approx(getattr(alone, part), abs=16)
        assert getattr(by_step, part) == getattr(by_layer, part)
    assert alone.gathered == 0 < by_layer.gathered < by_step.gathered
    assert by_layer.total < alone.total


def test_offloaded_shards_take_no_memory_of_a_gpu(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fake tensors of a GPU need a build of torch that has one.
    monkeypatch.setattr(plan_memory, "_activation_bytes", lambda *_arguments, **_options: 10**9)
    config = changed(config, tuning="full", processes=4, sharding="zero3")
    largest = MicroBatchSize(2, 100, supervised=200)
    kept, offloaded = (
        plan_memory.plan_memory(
            empty_model(gemma(), config.adapter, config.memory, torch.device("cpu")),
            changed(config, offload=offload),
            largest,
            shapes=1,
            program=0,
            on_cpu=False,
        )
        for offload in ("none", "cpu")
    )
    assert offloaded == replace(kept, weights=0, adapter=0, gradients=0, optimizer=0)
    # On the processor there is no other memory to offload to.
    assert memory(gemma(), changed(config, offload="cpu")) == memory(gemma(), config)


def test_the_time_is_measured_and_its_share_of_the_peak_is_named(config: TrainingConfig) -> None:
    time = planned(config).time
    assert time is not None
    assert min(time.layers, time.loss, time.optimizer) > 0
    assert 0 < time.peak_fraction < 1.5
    assert planned(config, epochs=1).tokens.all_steps == 5


def test_the_held_out_loss_takes_time_too(config: TrainingConfig) -> None:
    plan = planned(config, held_out=config.data)
    assert plan.time is not None
    assert 0 < plan.time.held_out < plan.time.total


def test_machines_share_the_work_and_processes_of_one_machine_its_cores(config: TrainingConfig) -> None:
    for options, devices in (({"nodes": 4}, 4), ({"processes": 4}, 1)):
        plan = planned(config, **options)
        assert plan.time is not None
        padded = plan.tokens.prompt + plan.tokens.supervised + plan.tokens.padding
        alone = config.batches.epochs * plan.time.speed.layer_per_token * padded
        assert plan.time.layers == pytest.approx(alone / devices)
        assert ("divided evenly" in shown(plan)) == (devices > 1)


def test_mixtures_take_memory_in_the_loss(config: TrainingConfig) -> None:
    plain, mixing = planned(config).memory, planned(config, sftmix_from="runs/first").memory
    assert mixing.loss > plain.loss
    assert replace(mixing, loss=0, program=0) == replace(plain, loss=0, program=0)


def test_what_does_not_fit_is_not_measured_and_the_next_setting_fits(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, batch_size=18, micro_batch_tokens=10_000)
    monkeypatch.setattr(planning, "program_memory", lambda: 300_000_000)  # which changes from plan to plan
    needed = planned(config).memory.total
    monkeypatch.setattr(planning, "available_memory", lambda _device: needed - 1_000_000)
    plan = planned(config)
    assert not plan.fits
    assert plan.time is None
    assert plan.suggestion is not None
    assert plan.suggestion.fits
    assert plan.suggestion.options["micro_batch_tokens"] < 10_000
    printed = shown(plan)
    assert "does not fit" in printed
    assert "--micro-batch-tokens" in printed
    assert planned(changed(config, **plan.suggestion.options)).fits


def test_where_nothing_helps_a_smaller_model_is_the_advice(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_memory", lambda _device: 1_000_000)
    assert "choose a smaller --model" in shown(planned(config))


def test_the_table_names_every_part_and_the_source_of_the_time(config: TrainingConfig) -> None:
    printed = shown(planned(config))
    for part in ("weights", "adapter", "gradients", "optimizer", "activations", "loss", "padding", "steps in all"):
        assert part in printed
    assert "Measured just now on this cpu" in printed
    assert "It fits" in printed


def shown(plan: Plan) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(plan_table(plan))
    return " ".join(capture.get().split())


def test_bad_data_are_refused_as_in_training(config: TrainingConfig, tmp_path: Path) -> None:
    write_examples(tmp_path / "bare.jsonl", [Example(completion="An answer.")])
    with pytest.raises(UserError, match="1 of 1 rows have no prompt"):
        planned(config, method="it", data=str(tmp_path / "bare.jsonl"))


def test_asking_for_a_plan_is_no_part_of_a_runs_configuration(config: TrainingConfig, tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", changed(config, plan=True))
    assert "\nplan:" not in (tmp_path / "config.yaml").read_text()
    assert differences(tmp_path / "config.yaml", config) == []
    assert differences(tmp_path / "config.yaml", changed(config, plan=True)) == []


def test_the_architecture_is_read_without_weights(model_folder: Path) -> None:
    from response_tuning.models.load import load_model_config

    assert load_model_config(str(model_folder)).to_dict() == AutoConfig.from_pretrained(model_folder).to_dict()
    with pytest.raises(UserError, match="There is no model"):
        load_model_config("no/such-model")
