"""One table: trained in memory = loaded from disk = exported, for ways of tuning, kinds of base and of tokenizer."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from response_tuning.conversation import Conversation
from response_tuning.example import Example, write_examples
from response_tuning.export.export import export
from response_tuning.export.export_config import ExportConfig
from response_tuning.models.load import load_model
from response_tuning.runs.load import load_with_conversation, resolve_format
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.training import trainer
from response_tuning.training.loop import run_steps
from response_tuning.training.step import Training
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.architectures.small_models import small_model
from tests.tokenizer_families import make_tokenizer

PROMPT = "Why is the sky blue?"
# Way of tuning, base ("run" and "full run" are runs on a Llama), tokenizer, format, prefix.
TABLE = [
    ("lora", "llama", "byte-level BPE", "tulu", "none"),
    ("rslora", "granite", "SentencePiece, Prepend normalizer", "question-answer", "none"),
    ("dora", "gemma3_text", "SentencePiece", "alpaca", "empty_user"),
    ("full", "llama", "SentencePiece, legacy", "tulu", "empty_user"),
    ("full", "phi", "Unigram", "question-answer", "none"),
    ("lora", "mixtral", "byte-level BPE with a prefix space", "alpaca", "none"),
    ("lora", "run", "SentencePiece, legacy", "auto", "none"),
    ("full", "run", "byte-level BPE", "auto", "none"),
    ("dora", "full run", "SentencePiece without a prefix", "auto", "none"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    write_examples(path, [Example(completion=f"Answer {number}: water.") for number in range(4)])
    return path


def base_folder(folder: Path, name: str, family: str) -> Path:
    tokenizer = make_tokenizer(family)
    small_model(name, vocab_size=len(tokenizer)).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def config_of(output: Path, model: str, data: Path, **options: Any) -> TrainingConfig:
    common: dict[str, Any] = {"dtype": "float32", "device": "cpu", "epochs": 2, "learning_rate": 1e-2, "lora_rank": 4}
    return TrainingConfig(output=output, model=model, data=str(data), **(common | options))


def train_and_keep(config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[int]]:
    """Logits of the model in memory at the end of training, for the prompt of its own conversation."""
    kept: list[tuple[Tensor, list[int]]] = []

    def run_and_keep(training: Training, *others: Any) -> None:
        run_steps(training, *others)
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_of(config.model))
        encoding = training.config.encoding
        assert encoding.format != "auto"
        ids = Conversation(tokenizer, encoding.format, rt_prefix=encoding.rt_prefix).prompt_ids(PROMPT)
        training.model.eval()
        with torch.no_grad():
            kept.append((training.model(input_ids=torch.tensor([ids]), use_cache=False).logits, ids))

    monkeypatch.setattr(trainer, "run_steps", run_and_keep)
    train(config)
    monkeypatch.setattr(trainer, "run_steps", run_steps)
    return kept[0]


def tokenizer_of(model: str) -> str:
    folders = [Path(model) / name for name in ("adapter", "model")]
    return str(next((folder for folder in folders if folder.exists()), model))


def logits(model: Any, ids: list[int]) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    return found


@pytest.mark.parametrize(("tuning", "base", "family", "format_name", "prefix"), TABLE)
def test_trained_in_memory_is_loaded_from_disk_is_exported(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tuning: str,
    base: str,
    family: str,
    format_name: str,
    prefix: str,
) -> None:
    model = base_folder(tmp_path / "base", "llama" if "run" in base else base, family)
    chosen = format_name
    if "run" in base:
        first = config_of(tmp_path / "first", str(model), data, format="question-answer")
        model, chosen = train(changed(first, tuning="full" if base == "full run" else "lora")).path, "question-answer"
    config = config_of(tmp_path / "run", str(model), data, tuning=tuning, format=format_name, rt_prefix=prefix)
    in_memory, ids = train_and_keep(config, monkeypatch)

    loaded, conversation = load_with_conversation(str(config.output), "auto", dtype="float32", device="cpu")
    assert (conversation.format_name, conversation.rt_prefix) == (chosen, prefix)
    assert conversation.prompt_ids(PROMPT) == ids
    torch.testing.assert_close(logits(loaded.model, ids), in_memory, rtol=1e-4, atol=1e-4)
    plain = load_model(str(model), dtype="float32", device="cpu").model
    assert not torch.allclose(logits(plain, ids), in_memory, atol=1e-2)

    options: dict[str, Any] = {"dtype": "float32", "device": "cpu", "check_prompts": 1, "check_tokens": 4}
    export(ExportConfig(run=config.output, output=tmp_path / "out", **options))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    torch.testing.assert_close(logits(exported, ids), in_memory, rtol=1e-4, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]
    assert tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) == ids

    weights = config.output / ("model" if tuning == "full" else "adapter")
    for place in (tmp_path / "out", weights):
        again, asked = load_with_conversation(str(place), "auto", dtype="float32", device="cpu")
        assert (asked.format_name, asked.rt_prefix) == (chosen, prefix)
        torch.testing.assert_close(logits(again.model, ids), in_memory, rtol=1e-4, atol=1e-4)
        assert resolve_format(str(place), "auto", tokenizer, as_assistant=True) == chosen


def test_a_base_named_by_a_relative_path_is_found_from_another_folder_and_after_a_move(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    base_folder(project / "models" / "base", "llama", "byte-level BPE")
    elsewhere.mkdir()
    monkeypatch.chdir(project)
    run = train(config_of(Path("runs/mine"), "models/base", data))
    expected = logits(load_model(str(run.path), dtype="float32", device="cpu").model, [1, 5, 6])
    monkeypatch.chdir(elsewhere)
    found = load_model(str(project / "runs/mine"), dtype="float32", device="cpu").model
    torch.testing.assert_close(logits(found, [1, 5, 6]), expected, rtol=0, atol=0)
    project.rename(tmp_path / "moved")
    found = load_model(str(tmp_path / "moved/runs/mine"), dtype="float32", device="cpu").model
    torch.testing.assert_close(logits(found, [1, 5, 6]), expected, rtol=0, atol=0)
    shutil.rmtree(tmp_path / "moved" / "models")
    with pytest.raises(UserError, match=r"base model of .* is not there any more"):
        load_model(str(tmp_path / "moved/runs/mine"), dtype="float32", device="cpu")


def test_another_base_under_the_old_name_is_refused(tmp_path: Path, data: Path) -> None:
    base = base_folder(tmp_path / "base", "llama", "byte-level BPE")
    run = train(config_of(tmp_path / "run", str(base), data))
    (base / "README.md").write_text("A note changes nothing.")
    load_model(str(run.path), dtype="float32", device="cpu")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.layers[0].mlp.up_proj.weight.data.mul_(-1)
    model.save_pretrained(base)
    with pytest.raises(UserError, match=r"changed since .* was trained on it"):
        load_model(str(run.path), dtype="float32", device="cpu")


def test_an_adapter_is_merged_in_fp32_and_rounded_once(tmp_path: Path, data: Path) -> None:
    base = base_folder(tmp_path / "base", "llama", "byte-level BPE")
    run = train(config_of(tmp_path / "run", str(base), data))
    exact = load_model(str(run.path), dtype="float32", device="cpu").model.state_dict()
    rounded_base = load_model(str(base), dtype="bfloat16", device="cpu").model.state_dict()
    plain = load_model(str(base), dtype="float32", device="cpu").model.state_dict()
    merged = load_model(str(run.path), dtype="bfloat16", device="cpu").model.state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    once = (rounded_base[name].float() + (exact[name] - plain[name])).bfloat16()
    assert (merged[name] != once).float().mean() < 0.001  # the difference of two fp32 numbers is itself rounded
    assert not torch.equal(merged[name], rounded_base[name])


def test_a_run_over_four_bits_is_merged_into_either_base_and_the_log_says_which(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("bitsandbytes")
    base = base_folder(tmp_path / "base", "llama", "byte-level BPE")
    run = train(config_of(tmp_path / "run", str(base), data, tuning="qlora"))
    capsys.readouterr()
    whole = load_model(str(run.path), dtype="float32", device="cpu")
    assert "trained over 4-bit weights" in capsys.readouterr().err
    rounded = load_model(str(run.path), dtype="float32", device="cpu", dequantized=True)
    name = "model.layers.0.mlp.up_proj.weight"
    difference = (whole.model.state_dict()[name] - rounded.model.state_dict()[name]).abs()
    assert 0 < float(difference.mean()) < 0.2 * float(whole.model.state_dict()[name].abs().mean())
    options: dict[str, Any] = {"dtype": "float32", "device": "cpu", "check_prompts": 1, "check_tokens": 4}
    export(ExportConfig(run=run.path, output=tmp_path / "out", base="dequantized", **options))
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    torch.testing.assert_close(exported[name], rounded.model.state_dict()[name])


def test_the_log_and_the_run_name_what_is_trained_after_what_and_what_stops_it(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_folder(tmp_path / "base", "mixtral", "byte-level BPE")
    run = train(config_of(tmp_path / "run", str(base), data, lora_dropout=0.1))
    logged = " ".join(capsys.readouterr().err.split())
    assert "training lora: 8 modules" in logged
    assert "14% of the layers' weights (unchanged: model.layers.mlp.experts.gate_up_proj 57%" in logged
    assert "responses follow '<s><|assistant|>\\n' and end with '</s>'" in logged
    saved = json.loads(run.tuning.read_text())
    assert saved["stop_tokens"] == ["</s>"]
    assert saved["prefix"] == "<s><|assistant|>\n"
    assert saved["fraction"] == pytest.approx(0.14, abs=0.01)


def test_a_stop_token_that_cannot_be_learned_is_named(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = base_folder(tmp_path / "base", "llama", "byte-level BPE")
    train(config_of(tmp_path / "chatml", str(base), data, format="chatml"))
    assert "has no token '<|im_end|>'" in " ".join(capsys.readouterr().err.split())
    model = AutoModelForCausalLM.from_pretrained(base)
    model.lm_head.weight.data[2] = 1e-4
    model.save_pretrained(base)
    train(config_of(tmp_path / "lora", str(base), data))
    assert "row of the stop token '</s>' was never trained" in " ".join(capsys.readouterr().err.split())
    train(config_of(tmp_path / "full", str(base), data, tuning="full"))
    assert "never trained" not in capsys.readouterr().err
