"""Training: what must not change the result, what a run holds, and what is refused."""

import hashlib
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from response_tuning.conversation import Conversation
from response_tuning.example import Example, write_examples
from response_tuning.kernels import linear_cross_entropy
from response_tuning.models.load import load_model
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines
from response_tuning.training import loop, step, trainer, tuning
from response_tuning.training.optimizer import learning_rate_factor
from response_tuning.training.step import Training, take_step
from response_tuning.training.trainer import train
from response_tuning.training.training_config import AdapterOptions, OptimizationOptions, TrainingConfig
from response_tuning.training.tuning import add_adapter

Weights = dict[str, torch.Tensor]


@pytest.fixture
def data(tmp_path: Path, examples: list[Example]) -> Path:
    """Twelve real pairs."""
    path = tmp_path / "data.jsonl"
    write_examples(path, examples[:12])
    return path


@pytest.fixture
def config(tmp_path: Path, data: Path, model_folder: Path) -> TrainingConfig:
    """A short fp32 training of the tiny model."""
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


def trained(config: TrainingConfig, **changes: Any) -> tuple[Weights, list[dict[str, Any]]]:
    """The adapter weights and the log of a training with some options changed."""
    run = train(changed(config, **changes))
    log = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    return load_file(run.adapter / "adapter_model.safetensors"), log


def assert_same(first: Weights, second: Weights, *, tolerance: float = 0.0) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance)


def test_training_lowers_the_loss_and_moves_the_adapter(config: TrainingConfig) -> None:
    weights, log = trained(config, epochs=8)
    assert log[-1]["loss"] < log[0]["loss"] - 0.5
    assert any(tensor.abs().max() > 0 for name, tensor in weights.items() if "lora_B" in name)


def test_the_same_configuration_gives_the_same_weights(config: TrainingConfig, tmp_path: Path) -> None:
    assert_same(trained(config)[0], trained(config, output=tmp_path / "again")[0])


def test_every_row_of_the_log_is_told_as_it_is_written(config: TrainingConfig) -> None:
    told: list[dict[str, Any]] = []

    def tell(row: dict[str, Any]) -> None:
        told.append(row)
        assert RunDirectory(config.output).training_log.read_text().count("\n") == len(told)

    run = train(config, on_step=tell)
    assert told == read_json_lines(run.training_log)


def test_who_is_told_may_stop_a_training_which_then_goes_on_to_the_same_weights(
    config: TrainingConfig, tmp_path: Path
) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, on_step=stop)
    assert not RunDirectory(config.output).is_trained
    assert_same(trained(config)[0], trained(config, output=tmp_path / "never stopped")[0])


def test_another_seed_gives_other_weights(config: TrainingConfig, tmp_path: Path) -> None:
    first, other = trained(config)[0], trained(config, output=tmp_path / "other", seed=1)[0]
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_one_micro_batch_of_eight_equals_eight_of_one(config: TrainingConfig, tmp_path: Path) -> None:
    whole, log = trained(config, micro_batch_tokens=100_000)
    cut, cut_log = trained(config, output=tmp_path / "cut", micro_batch_tokens=1)
    assert [row["loss"] for row in cut_log] == pytest.approx([row["loss"] for row in log], rel=1e-5)
    assert_same(whole, cut, tolerance=1e-4)


def test_a_step_that_overflows_is_taken_again_as_if_it_had_been_waited_for(
    config: TrainingConfig, tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an accelerator, a step learns from its loss that a target was less likely than one in 10^30."""
    confident = LlamaForCausalLM.from_pretrained(model_folder)
    confident.lm_head.weight.data.mul_(60)
    folder = tmp_path / "confident"
    shutil.copytree(model_folder, folder)
    confident.save_pretrained(folder)
    options = {"model": str(folder), "learning_rate": 1e-4}
    expected, log = trained(config, output=tmp_path / "waited", **options)
    attempts: list[bool] = []
    attempt = step._attempt

    def noted(*arguments: Any) -> Any:
        losses, norm = attempt(*arguments)
        attempts.append(math.isfinite(losses["loss"]))
        return losses, norm

    monkeypatch.setattr(linear_cross_entropy, "defers_overflow", lambda _device: True)
    monkeypatch.setattr(step, "defers_overflow", lambda _device: True)
    monkeypatch.setattr(step, "_attempt", noted)
    found, found_log = trained(config, output=tmp_path / "not waited", **options)
    assert False in attempts
    assert [row["loss"] for row in found_log] == [row["loss"] for row in log]
    assert_same(found, expected)


def test_rt_does_not_depend_on_the_instructions(
    config: TrainingConfig, tmp_path: Path, examples: list[Example]
) -> None:
    instructions = [example.prompt for example in examples[:12]]
    random.Random(0).shuffle(instructions)
    shuffled, bare = tmp_path / "shuffled.jsonl", tmp_path / "bare.jsonl"
    write_examples(
        shuffled,
        [
            Example(prompt=prompt, completion=example.completion)
            for prompt, example in zip(instructions, examples, strict=False)
        ],
    )
    write_examples(bare, [Example(completion=example.completion) for example in examples[:12]])
    first = trained(config)[0]
    assert_same(first, trained(config, output=tmp_path / "a", data=str(shuffled))[0])
    assert_same(first, trained(config, output=tmp_path / "b", data=str(bare))[0])


def test_it_depends_on_the_instructions(config: TrainingConfig, tmp_path: Path) -> None:
    rt, it = trained(config)[0], trained(config, output=tmp_path / "it", method="it")[0]
    assert any(not torch.equal(rt[name], it[name]) for name in rt)


def test_adapter_weights_are_fp32_over_a_bf16_base(config: TrainingConfig) -> None:
    weights, log = trained(config, dtype="bfloat16")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert all(row["loss"] > 0 for row in log)


def test_peft_loads_the_adapter_and_merging_gives_the_same_logits(config: TrainingConfig, model_folder: Path) -> None:
    run = train(config)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(run.adapter))
    merged = load_model(str(run.path), dtype="float32", device="cpu")
    input_ids = torch.tensor([merged.tokenizer("Why is the sky blue?").input_ids])
    with torch.no_grad():
        expected, logits = adapted(input_ids).logits, merged.model(input_ids).logits
        plain = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)(input_ids).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain, expected, atol=1e-2)


def test_a_run_holds_what_repeats_it_and_what_serves_it(config: TrainingConfig) -> None:
    run = train(config)
    written = yaml.safe_load(run.config.read_text())
    assert written["format"] == "tulu"
    assert TrainingConfig(**written) == trainer.resolve(config)
    report = json.loads(run.data_report.read_text())
    assert report["rows_kept"] == 12
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    conversation = Conversation(tokenizer, "tulu")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_dict=False
    )
    assert prompt == conversation.prompt_ids("Hi")
    generation = json.loads((run.adapter / "generation_config.json").read_text())
    assert generation["eos_token_id"] == conversation.stop_token_ids
    supervised = json.loads(run.training_log.read_text().splitlines()[-1])["supervised_tokens"]
    assert supervised == 2 * report["supervised_tokens"]


def test_a_finished_run_is_left_as_it_is(config: TrainingConfig) -> None:
    before = train(config).adapter.stat().st_mtime_ns
    assert train(config).adapter.stat().st_mtime_ns == before


def test_a_finished_run_whose_data_changed_is_refused(config: TrainingConfig, data: Path) -> None:
    run = train(config)
    lines = data.read_text().splitlines()
    data.write_text("\n".join([*lines[1:], lines[0]]))
    with pytest.raises(UserError, match="trained already, on other data: what --data names changed"):
        train(config)
    assert run.is_trained
    data.write_text("\n".join(lines))
    train(config)


def test_other_held_out_examples_of_a_finished_run_are_refused(
    config: TrainingConfig, tmp_path: Path, examples: list[Example]
) -> None:
    held_out = tmp_path / "held_out.jsonl"
    write_examples(held_out, examples[12:14])
    config = changed(config, held_out=str(held_out))
    train(config)
    write_examples(held_out, examples[12:15])
    with pytest.raises(UserError, match="what --held-out names changed"):
        train(config)


@pytest.mark.parametrize("method", ["rt", "it"])
def test_changed_prompts_are_of_account_in_instruction_tuning_alone(
    config: TrainingConfig, data: Path, examples: list[Example], method: str
) -> None:
    config = changed(config, method=method)
    train(config)
    write_examples(data, [Example(prompt="Go on.", completion=example.completion) for example in examples[:12]])
    if method == "it":
        with pytest.raises(UserError, match="what --data names changed"):
            train(config)
    else:
        train(config)


def test_a_finished_run_of_a_version_without_fingerprints_is_left_as_it_is(config: TrainingConfig, data: Path) -> None:
    run = train(config)
    report = json.loads(run.data_report.read_text())
    assert len(report.pop("data_fingerprint")) == 64
    assert report.pop("held_out_fingerprint") == hashlib.sha256().hexdigest()
    run.data_report.write_text(json.dumps(report))
    data.write_text(data.read_text().splitlines()[0])
    train(config)


def test_a_token_outside_the_vocabulary_is_named_before_anything_is_written(
    config: TrainingConfig, model_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "model"
    shutil.copytree(model_folder, other)
    tokenizer = AutoTokenizer.from_pretrained(other)
    known = len(tokenizer)
    tokenizer.add_tokens(["assistant"])
    tokenizer.save_pretrained(other)
    message = f"makes the token 'assistant' with id {known}, outside the model's vocabulary of {known}"
    with pytest.raises(UserError, match=message):
        train(changed(config, model=str(other)))
    assert not config.output.exists()


def test_an_example_that_is_too_long_is_named_before_anything_is_written(config: TrainingConfig) -> None:
    with pytest.raises(UserError, match=r"Row \d+ takes \d+ tokens, more than --max-length 16"):
        train(changed(config, max_length=16))
    assert not config.output.exists()


def test_a_folder_with_another_configuration_is_refused_and_the_difference_named(config: TrainingConfig) -> None:
    train(config)
    with pytest.raises(UserError, match=r"epochs: 2 there, 3 now"):
        train(changed(config, epochs=3))


def test_a_folder_with_something_else_is_refused(config: TrainingConfig) -> None:
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        train(config)
    assert [path.name for path in config.output.iterdir()] == ["thesis.txt"]


def test_it_without_prompts_is_refused_before_anything_is_written(config: TrainingConfig, tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    write_examples(bare, [Example(completion="An answer.")])
    with pytest.raises(UserError, match="1 of 1 rows have no prompt"):
        train(changed(config, method="it", data=str(bare)))
    assert not config.output.exists()


def test_a_loss_that_is_not_a_number_stops_with_advice_and_saves_no_adapter(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "add_adapter", _poisoned(add_adapter))
    with pytest.raises(UserError, match=r"The loss became nan.*--learning-rate"):
        train(config)
    assert not RunDirectory(config.output).is_trained


def test_a_loss_that_is_not_a_number_in_mid_training_leaves_what_was_before(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(config, epochs=4, checkpoint_every_seconds=0)
    whole = train(changed(config, output=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "take_step", _poisoned_after(5))
        with pytest.raises(UserError, match="The loss became nan"):
            train(config)
    run = RunDirectory(config.output)
    assert [json.loads(line)["step"] for line in run.training_log.read_text().splitlines()] == [1, 2, 3, 4, 5]
    weights = load_file(train(config).adapter / "adapter_model.safetensors")
    assert_same(weights, load_file(whole.adapter / "adapter_model.safetensors"))


def _poisoned_after(steps: int) -> Any:
    real_step = take_step
    done: list[int] = []

    def step(training: Training, *arguments: Any) -> Any:
        if len(done) == steps:
            next(iter(training.trained.values())).data.fill_(float("nan"))
        done.append(1)
        return real_step(training, *arguments)

    return step


def _poisoned(add_adapter: Any) -> Any:
    def add(model: LlamaForCausalLM, adapter: AdapterOptions, **options: Any) -> Any:
        adapted = add_adapter(model, adapter, **options)
        next(parameter for parameter in adapted.parameters() if parameter.requires_grad).data.fill_(float("nan"))
        return adapted

    return add


@pytest.mark.parametrize(("schedule", "last"), [("constant", 1.0), ("linear", 0.1), ("cosine", 0.0245)])
def test_the_learning_rate_rises_in_warm_up_and_falls_as_scheduled(schedule: str, last: float) -> None:
    options = OptimizationOptions.model_validate({"schedule": schedule, "warmup_share": 0.5})
    factors = [learning_rate_factor(step, steps=20, options=options) for step in range(20)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(last, abs=1e-3)
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_case_overlong_prompt_is_found_before_the_model_is_loaded(
    config: TrainingConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_arguments: object, **_options: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("response_tuning.training.parallel.replicated.Replicated.load", load)
    write_examples(data, [Example(prompt="word " * 3_000, completion="Yes.")])
    with pytest.raises(UserError, match="Row 1: the prompt alone takes"):
        trainer.train(changed(config, method="it", overlong="error"))
