"""Ways of tuning: what each trains, and that what it saves is what was trained."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from response_tuning.example import Example, write_examples
from response_tuning.models.load import load_model, load_tokenizer
from response_tuning.runs.folder import RunDirectory
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training import trainer
from response_tuning.training.loop import run_steps
from response_tuning.training.step import Training
from response_tuning.training.trainer import train
from response_tuning.training.training_config import AdapterOptions, MemoryOptions, Switch, TrainingConfig
from response_tuning.training.tuning import load_base, make_trainable, recompute_activations


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, examples: list[Example]) -> TrainingConfig:
    """Four fp32 steps of the tiny model."""
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:16])
    return TrainingConfig(
        output=tmp_path / "run",
        model=str(model_folder),
        data=str(data),
        dtype="float32",
        device="cpu",
        epochs=2,
        batch_size=8,
        lora_rank=4,
        learning_rate=1e-2,
    )


def losses(run_path: Path) -> list[float]:
    """The logged loss of every step."""
    return [json.loads(line)["loss"] for line in (run_path / "training.jsonl").read_text().splitlines()]


def test_rslora_scales_by_the_root_of_the_rank(config: TrainingConfig, model_folder: Path) -> None:
    scalings = {}
    for tuning in ("lora", "rslora"):
        run = train(changed(config, tuning=tuning, output=config.output / tuning))
        base = AutoModelForCausalLM.from_pretrained(model_folder)
        adapted = PeftModel.from_pretrained(base, str(run.adapter))
        scalings[tuning] = adapted.get_submodule("base_model.model.model.layers.0.mlp.up_proj").scaling["default"]  # type: ignore[index]
    assert scalings == {"lora": 32 / 4, "rslora": 32 / 2}


def test_dora_trains_the_length_of_every_row(config: TrainingConfig, model_folder: Path) -> None:
    weights = load_file(train(changed(config, tuning="dora")).adapter / "adapter_model.safetensors")
    lengths = {name: tensor for name, tensor in weights.items() if "lora_magnitude_vector" in name}
    assert len(lengths) == 2 * 7
    assert {tensor.dtype for tensor in lengths.values()} == {torch.float32}
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    before = base.model.layers[0].mlp.up_proj.weight.norm(dim=1)
    trained = next(tensor for name, tensor in lengths.items() if "layers.0.mlp.up_proj" in name)
    assert trained.shape == before.shape
    assert not torch.allclose(trained, before, atol=1e-3)


@pytest.mark.parametrize("tuning", ["rslora", "dora"])
def test_an_adapter_lowers_the_loss_and_merging_it_gives_the_same_logits(
    config: TrainingConfig, model_folder: Path, tuning: str
) -> None:
    run = train(changed(config, tuning=tuning, epochs=4))
    assert losses(run.path)[-1] < losses(run.path)[0] - 0.3
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(run.adapter))
    merged = load_model(str(run.path), dtype="float32", device="cpu")
    input_ids = torch.tensor([merged.tokenizer("Why is the sky blue?").input_ids])
    with torch.no_grad():
        torch.testing.assert_close(merged.model(input_ids).logits, adapted(input_ids).logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tuning", ["rslora", "dora"])
def test_an_adapter_trains_in_bf16_too(config: TrainingConfig, tuning: str) -> None:
    logged = losses(train(changed(config, tuning=tuning, dtype="bfloat16", epochs=4)).path)
    assert logged[-1] < logged[0] - 0.3


def test_full_tuning_trains_every_weight(config: TrainingConfig, model_folder: Path) -> None:
    run = train(changed(config, tuning="full", learning_rate=3e-3, epochs=4))
    assert losses(run.path)[-1] < losses(run.path)[0] - 0.3
    before, after = (load_file(folder / "model.safetensors") for folder in (model_folder, run.model))
    assert before.keys() == after.keys()
    assert not [name for name in before if torch.equal(before[name], after[name])]
    assert not run.adapter.exists()
    assert run.is_trained


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fully_tuned_run_is_an_ordinary_model_folder_and_is_loaded_with_its_conversation(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    kept: list[dict[str, torch.Tensor]] = []

    def run_and_copy(training: Training, *others: Any) -> None:
        run_steps(training, *others)
        kept.append({name: tensor.clone() for name, tensor in training.model.state_dict().items()})

    monkeypatch.setattr(trainer, "run_steps", run_and_copy)
    run = train(changed(config, tuning="full", dtype=dtype, format="chatml"))
    assert {tensor.dtype for tensor in kept[0].values()} == {torch.float32}
    loaded, conversation = load_with_conversation(str(run.path), "auto", dtype="float32", device="cpu")
    for name, tensor in loaded.model.state_dict().items():
        torch.testing.assert_close(tensor, kept[0][name].to(getattr(torch, dtype)).float(), rtol=0, atol=0)
    plain = AutoModelForCausalLM.from_pretrained(run.model)
    assert str(plain.dtype) == f"torch.{dtype}"
    assert plain.generation_config.eos_token_id == conversation.stop_token_ids
    prompt = load_tokenizer(str(run.path)).apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    assert prompt == conversation.prompt_ids("Hi")


def test_tied_embeddings_stay_tied(config: TrainingConfig, tied_folder: Path) -> None:
    run = train(changed(config, tuning="full", model=str(tied_folder), learning_rate=3e-3, epochs=4))
    assert losses(run.path)[-1] < losses(run.path)[0] - 0.3
    trained = load_model(str(run.path), dtype="float32", device="cpu").model
    head, embeddings = trained.get_output_embeddings(), trained.get_input_embeddings()
    assert head.weight is embeddings.weight
    assert "lm_head.weight" not in load_file(run.model / "model.safetensors")


def test_a_step_that_bf16_would_round_away_moves_the_weights(
    config: TrainingConfig, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "_save", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(
            changed(
                config,
                tuning="full",
                dtype="bfloat16",
                learning_rate=1e-5,
                epochs=1,
                batch_size=16,
                checkpoint_every_seconds=0,
            )
        )
    checkpoint = load_file(RunDirectory(config.output).checkpoint)
    before = load_file(model_folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    after = checkpoint["weight/model.layers.0.mlp.up_proj.weight"]
    assert after.dtype == torch.float32
    torch.testing.assert_close((after - before).abs().median(), torch.tensor(1e-5), rtol=0.05, atol=0)
    assert (after.bfloat16() == before.bfloat16()).float().mean() > 0.9


def _interrupted(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_fully_tuned_run_is_a_base_model_for_another(config: TrainingConfig) -> None:
    first = train(changed(config, tuning="full"))
    second = train(changed(config, model=str(first.path), output=config.output / "second"))
    base = json.loads((second.adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert base == str(first.model)
    assert load_model(str(second.path), device="cpu").path == base


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tuning", ["lora", "dora", "full"])
def test_gradient_checkpointing_gives_the_same_bits(config: TrainingConfig, tuning: str, dtype: str) -> None:
    config = changed(config, tuning=tuning, dtype=dtype, lora_dropout=0.3, learning_rate=1e-3)
    runs = [
        train(changed(config, gradient_checkpointing=recomputed, output=config.output / str(recomputed)))
        for recomputed in (False, True)
    ]
    weights, others = (
        load_file(run.model / "model.safetensors" if tuning == "full" else run.adapter / "adapter_model.safetensors")
        for run in runs
    )
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_gradient_checkpointing_computes_each_layer_again(model_folder: Path) -> None:
    calls = {}
    for recomputed in (False, True):
        model = AutoModelForCausalLM.from_pretrained(model_folder).requires_grad_(True)
        if recomputed:
            recompute_activations(model)
        model.train()
        seen: list[int] = []
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, seen=seen: seen.append(1))
        model(input_ids=torch.ones((1, 5), dtype=torch.long)).logits.sum().backward()
        calls[recomputed] = len(seen)
    assert calls == {False: 1, True: 2}


def test_a_model_that_cannot_compute_layers_again_is_named(model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    model.supports_gradient_checkpointing = False
    with pytest.raises(UserError, match="Leave --gradient-checkpointing out"):
        recompute_activations(model)


def test_qlora_packs_linear_layers_but_the_head_in_four_bits(config: TrainingConfig) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = load_base(config.model, "qlora", dtype="bfloat16", device="cpu").model
    packed = [module for module in model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(packed) == 2 * 7
    assert all(module.weight.quant_state.quant_type == "nf4" and module.weight.quant_state.nested for module in packed)
    assert all(module.weight.numel() * 2 == module.in_features * module.out_features for module in packed)
    assert not isinstance(model.get_output_embeddings(), bitsandbytes.nn.Linear4bit)
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_qlora_lowers_the_loss_and_its_adapter_serves_the_unpacked_model(
    config: TrainingConfig, model_folder: Path, dtype: str
) -> None:
    pytest.importorskip("bitsandbytes")
    options = {"dtype": dtype, "epochs": 4, "gradient_checkpointing": True}
    run = train(changed(config, tuning="qlora", **options))
    plain = train(changed(config, tuning="lora", **options, output=config.output / "plain"))
    assert losses(run.path)[-1] < losses(run.path)[0] - 0.3
    assert losses(run.path) == pytest.approx(losses(plain.path), rel=0.05)
    assert losses(run.path) != losses(plain.path)
    weights = load_file(run.adapter / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    loaded = load_model(str(run.path), dtype="float32", device="cpu")
    assert loaded.path == str(model_folder)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_qlora_without_bitsandbytes_says_what_to_install(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"pip install 'response-tuning\[qlora\]', or choose --tuning lora"):
        train(changed(config, tuning="qlora"))
    assert not config.output.exists()


def test_qlora_over_a_runs_adapter_is_refused(config: TrainingConfig) -> None:
    first = train(config)
    with pytest.raises(UserError, match="holds an adapter"):
        train(changed(config, tuning="qlora", model=str(first.path), output=config.output / "second"))


@pytest.mark.parametrize(
    ("switch", "device", "fused"),
    [("auto", "cpu", True), ("auto", "cuda", False), ("on", "cuda", True), ("off", "cpu", False)],
)
def test_layers_are_fused_on_the_cpu_or_as_asked_for(
    model: LlamaForCausalLM, switch: Switch, device: str, fused: bool
) -> None:
    adapted = make_trainable(model, AdapterOptions(), MemoryOptions(fused_layers=switch), torch.device(device))
    assert any("forward" in vars(module) for module in adapted.modules()) == fused


def test_layers_that_are_not_fused_train_the_same_up_to_rounding(config: TrainingConfig, tmp_path: Path) -> None:
    config = changed(config, lora_rank=3)  # with a rank of 4 the scaling is a power of two, which rounds nothing
    fused = train(config)
    plain = train(changed(config, fused_layers="off", output=tmp_path / "plain"))
    assert losses(fused.path) == pytest.approx(losses(plain.path), rel=1e-4)
    # The losses, means over many tokens, may agree to the last digit; all the weights do not.
    weights, others = (load_file(run.adapter / "adapter_model.safetensors") for run in (fused, plain))
    assert any(not torch.equal(weights[name], others[name]) for name in weights)
