"""Runs: any model spec is loaded and asked in one way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from response_tuning.example import Example
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.inference.score import example_losses
from response_tuning.runs import registry
from response_tuning.runs.contract import Run
from response_tuning.runs.load import load_responder, load_run, load_with_conversation, resolve_format
from response_tuning.runs.registry import RunKind, kind_of, register_kind, run_kinds
from response_tuning.support import plugins
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig

PROMPTS = ["What is rain?", "Name a colour.", "Why do birds sing in the morning?"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> Path:
    """A run of two steps that was trained in another format than a base model is asked in, with a kept checkpoint."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "data.jsonl"
    data.write_text("".join(example.model_dump_json(include={"completion"}) + "\n" for example in examples[:8]))
    options: dict[str, Any] = {"batch_size": 4, "epochs": 1, "keep_adapter_every": 1, "device": "cpu"}
    config = TrainingConfig(
        output=folder / "rt",
        model=str(model_folder),
        data=str(data),
        format="alpaca",
        rt_prefix="empty_user",
        dtype="float32",
        **options,
    )
    return train(config).path


def with_template(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def test_a_base_model_is_a_run_and_answers_as_plain_generation_does(model_folder: Path) -> None:
    run = load_run(str(model_folder), dtype="float32", device="cpu")
    assert isinstance(run, Run)
    assert run.spec == str(model_folder)
    responder = load_responder(str(model_folder), "auto", dtype="float32", device="cpu")
    (batch,) = generate_responses(responder, PROMPTS, max_new_tokens=6, batch_size=3)
    responses = run.generate(PROMPTS, max_new_tokens=6, batch_size=2)
    assert responses == [batch[index] for index in range(3)]
    assert str(responses[0]) == responses[0].text


def test_scores_are_log_likelihoods_of_the_completions_with_and_without_a_prompt(model_folder: Path) -> None:
    run = load_run(str(model_folder), dtype="float32", device="cpu")
    loaded, conversation = load_with_conversation(str(model_folder), "auto", dtype="float32", device="cpu")
    example = Example(prompt=PROMPTS[0], completion="Water.")
    encoded = [conversation.encode(example, "it"), conversation.encode(example, "rt")]
    expected = [-loss for loss in example_losses(loaded.model, encoded, batch_tokens=2048)]
    scores = run.score([PROMPTS[0], None], ["Water.", "Water."])
    assert scores == pytest.approx(expected)
    assert scores[0] != scores[1]
    with pytest.raises(ValueError, match="zip"):
        run.score(PROMPTS, ["Water."])


def test_a_run_and_its_checkpoint_are_asked_in_the_format_they_were_trained_in(run_folder: Path) -> None:
    for spec in (run_folder, run_folder / "checkpoints" / "step-1"):
        _, conversation = load_with_conversation(str(spec), "auto", dtype="float32", device="cpu")
        assert (conversation.format_name, conversation.rt_prefix) == ("alpaca", "empty_user")
    assert load_run(str(run_folder), dtype="float32", device="cpu").generate(PROMPTS[:1], max_new_tokens=3)


@pytest.mark.parametrize(
    ("spec", "asked", "has_template", "as_assistant", "chosen"),
    [
        ("MODEL", "chatml", False, False, "chatml"),
        ("MODEL", "auto", False, False, "tulu"),
        ("MODEL", "auto", True, False, "tulu"),  # measured as a base model
        ("MODEL", "auto", True, True, "own"),
        ("MODEL", "auto", False, True, "tulu"),
        ("MODEL", "alpaca", True, True, "alpaca"),
        ("embedded", "auto", False, False, "question-answer"),
        ("embedded", "auto", False, True, "question-answer"),
        ("RUN", "auto", True, False, "alpaca"),
        ("RUN", "auto", True, True, "alpaca"),
        ("RUN", "tulu", True, True, "tulu"),
        ("RUN/checkpoints/step-1", "auto", True, True, "alpaca"),
    ],
)
def test_auto_has_one_meaning(
    model_folder: Path,
    run_folder: Path,
    spec: str,
    asked: FormatName,
    has_template: bool,
    as_assistant: bool,
    chosen: FormatName,
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(model_folder))
    named = spec.replace("MODEL", str(model_folder)).replace("RUN", str(run_folder))
    template = with_template(tokenizer) if has_template else tokenizer
    assert resolve_format(named, asked, template, as_assistant=as_assistant) == chosen


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("format: tulip\n", r"config\.yaml: option 'format' is 'tulip': it should be one of tulu, chatml"),
        ("format: [\n", r"config\.yaml is not valid YAML"),
        ("- tulu\n", r"should hold one 'option: value' a line"),
    ],
)
def test_a_broken_configuration_of_a_run_is_one_clear_message(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, written: str, message: str
) -> None:
    (tmp_path / "config.yaml").write_text(written)
    with pytest.raises(UserError, match=message):
        resolve_format(str(tmp_path), "auto", tokenizer)


def test_a_model_of_a_provider_cannot_be_loaded() -> None:
    with pytest.raises(UserError, match=r"provider 'mistral'.*hub:mistral/small"):
        load_run("mistral/small")


@dataclass
class EchoRun:
    """A kind of run from outside: it repeats the prompt."""

    spec: str

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 256, batch_size: int = 16) -> list[Response]:
        return [Response(prompt, min(len(prompt), max_new_tokens), stopped=batch_size > 0) for prompt in prompts]

    def score(self, prompts: Sequence[str | None], completions: Sequence[str]) -> list[float]:
        return [0.0 if prompt == text else -math.inf for prompt, text in zip(prompts, completions, strict=True)]


def test_a_kind_of_run_is_added_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_added", [])
    (tmp_path / "echo").touch()
    assert kind_of(str(tmp_path)) is None
    register_kind(RunKind("echo", lambda path: (path / "echo").exists(), lambda spec, **_: EchoRun(spec)))
    assert run_kinds()[0].name == "echo"
    run = load_run(str(tmp_path))
    assert isinstance(run, Run)
    assert run.generate(["Hello"])[0].text == "Hello"
    assert run.score(["a", None], ["a", "a"]) == [0.0, -math.inf]


def test_an_installed_package_adds_a_kind_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "installed"

        @staticmethod
        def load() -> RunKind:
            return RunKind("installed", lambda path: path.name == "elsewhere", lambda spec, **_: EchoRun(spec))

    monkeypatch.setattr(registry, "_added", [])
    monkeypatch.setattr(plugins, "entry_points", lambda *, group: {"response_tuning.runs": [Point]}[group])
    plugins.offered.cache_clear()
    try:
        kind = kind_of("runs/elsewhere")
        assert kind is not None
        assert kind.name == "installed"
    finally:
        plugins.offered.cache_clear()
