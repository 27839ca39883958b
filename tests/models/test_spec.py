"""The grammar of model specs: every kind, and what is typed wrong."""

import json
from pathlib import Path

import pytest

from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.load import load_model, load_tokenizer, resolve_model
from response_tuning.models.spec import PROVIDERS, ModelSpec, SpecKind, is_local, parse_spec, require_local, spec_of
from response_tuning.support.errors import UserError


@pytest.mark.parametrize(
    ("text", "kind", "name", "revision"),
    [
        ("embedded", "embedded", "embedded", None),
        ("embedded-instruct", "embedded-instruct", "embedded-instruct", None),
        ("weights/model.gguf", "gguf", "weights/model.gguf", None),
        ("gpt2", "hub", "gpt2", None),
        ("Qwen/Qwen3-0.6B", "hub", "Qwen/Qwen3-0.6B", None),
        ("Qwen/Qwen3-0.6B@v1.0", "hub", "Qwen/Qwen3-0.6B", "v1.0"),
        ("Qwen/Qwen3-0.6B@refs/pr/1", "hub", "Qwen/Qwen3-0.6B", "refs/pr/1"),
        ("hub:google/gemma-3-270m", "hub", "google/gemma-3-270m", None),
        ("hub:google/gemma-3-270m@main", "hub", "google/gemma-3-270m", "main"),
        ("mistralai/Mistral-7B-v0.3", "hub", "mistralai/Mistral-7B-v0.3", None),
        ("meta-llama/Llama-3.2-1B", "hub", "meta-llama/Llama-3.2-1B", None),
        ("google/gemini-2.5-flash", "provider", "google/gemini-2.5-flash", None),
        ("openai/gpt-5-mini", "provider", "openai/gpt-5-mini", None),
        ("openai-api/SERVICE/NAME", "provider", "openai-api/SERVICE/NAME", None),
        ("vllm/Qwen/Qwen3-8B", "provider", "vllm/Qwen/Qwen3-8B", None),
        ("hf/Qwen/Qwen3-0.6B", "provider", "hf/Qwen/Qwen3-0.6B", None),
        ("./openai/mine", "folder", "./openai/mine", None),
        ("../runs/rt", "folder", "../runs/rt", None),
        ("/models/llama", "folder", "/models/llama", None),
        ("runs/quickstart/rt", "folder", "runs/quickstart/rt", None),
        ("runs/rt/checkpoints/step-8", "folder", "runs/rt/checkpoints/step-8", None),
    ],
)
def test_a_spec_has_one_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kind: SpecKind, name: str, revision: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_spec(text) == ModelSpec(text, kind, name, revision)
    assert is_local(text) == (kind != "provider")


def test_what_exists_is_a_path_but_a_provider_is_one_whatever_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/rt", "Qwen/Qwen3-8B@v1", "openai/mine"):
        (tmp_path / folder).mkdir(parents=True)
    assert [parse_spec(text).kind for text in ("runs/rt", "Qwen/Qwen3-8B@v1", "Qwen/Qwen3-8B", "openai/mine")] == [
        *("folder", "folder", "hub", "provider")
    ]
    with pytest.raises(UserError, match=r"provider 'openai'.*hub:openai/mine.*folder is \./openai/mine"):
        load_model("openai/mine")


def test_the_providers_are_those_of_inspect_ai() -> None:
    pytest.importorskip("inspect_ai")
    import re

    import inspect_ai.model._providers.providers as registry

    registered = re.findall(r'@modelapi\(name="([^"]+)"', Path(registry.__file__).read_text(encoding="utf-8"))
    assert set(registered) == PROVIDERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("embeded", r"There is no model 'embeded'.*Did you mean 'embedded'\?.*A model is 'embedded'"),
        ("runs/quikstart", r"There is no model 'runs/quikstart'.*Did you mean 'runs/quickstart'\?"),
        ("./runs/quikstart", r"There is no model 'runs/quikstart': no such folder. Did you mean 'runs/quickstart'\?"),
        ("runs/a/b", r"There is no model 'runs/a/b': no such folder. A model is"),
        ("missing.gguf", r"There is no model file missing\.gguf\.$"),
        ("runs/wieghts.gguf", r"There is no model file runs/wieghts\.gguf\. Did you mean 'runs/weights\.gguf'\?"),
        ("runs/unfinished", r"has not finished.*Resume it: rt train --config runs/unfinished/config\.yaml"),
        ("runs/empty", r"The folder runs/empty holds neither a model \(config\.json\) nor a finished run"),
        ("bad name!", r"There is no model 'bad name!'"),
        ("no/such-model@v2", r"There is no model 'no/such-model@v2'"),
        ("runs/quickstart@v2", r"A folder has no revision"),
        ("mistral/small", r"provider 'mistral'.*hub:mistral/small"),
    ],
)
def test_a_wrong_spec_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "empty", "unfinished"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "weights.gguf").touch()
    for name in ("config.yaml", "data.json"):
        (tmp_path / "runs" / "unfinished" / name).write_text("{}")
    with pytest.raises(UserError, match=message):
        resolve_model(text)


def cached_model(hub_cache: Path, model_folder: Path, *, commit: str, revision: str) -> None:
    """The model as the hub's client keeps a downloaded one."""
    repository = hub_cache / "models--some--tiny"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for file in model_folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())


def test_a_revision_is_loaded_and_is_part_of_the_fingerprint(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cached_model(tmp_path, model_folder, commit="a" * 40, revision="main")
    cached_model(tmp_path, model_folder, commit="b" * 40, revision="v2")
    tokenizer_config = tmp_path / "models--some--tiny" / "snapshots" / ("b" * 40) / "tokenizer_config.json"
    tokenizer_config.write_text(json.dumps(json.loads(tokenizer_config.read_text()) | {"model_max_length": 77}))
    assert (model_fingerprint("some/tiny"), model_fingerprint("some/tiny@v2")) == ("a" * 16, "b" * 16)
    assert model_fingerprint("hub:some/tiny@v2") == "b" * 16
    assert load_tokenizer("some/tiny@v2").model_max_length == 77
    assert load_tokenizer("some/tiny").model_max_length != 77
    loaded = load_model("hub:some/tiny@v2", device="cpu")
    assert (loaded.path, loaded.revision) == ("some/tiny", "v2")


def test_a_provider_that_owns_base_models_on_the_hub_means_those_where_weights_are_needed() -> None:
    assert parse_spec("google/gemma-3-270m").kind == "provider"
    spec = require_local("google/gemma-3-270m@main")
    assert (spec.kind, spec.name, spec.revision) == ("hub", "google/gemma-3-270m", "main")


def test_a_provider_of_another_package_is_named_by_a_prefix() -> None:
    spec = parse_spec("inspect:ours/model")
    assert (spec.kind, spec.name, spec.is_local) == ("provider", "ours/model", False)


@pytest.mark.parametrize("text", ["", "hub:", "owner/name@"])
def test_a_spec_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no model"):
        require_local(text)


def test_a_path_is_a_spec_for_callers_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_spec(spec_of(Path("openai/mine"))).name == str(tmp_path / "openai" / "mine")
    assert spec_of("embedded") == "embedded"
