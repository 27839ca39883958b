"""Where the evaluations of a model are saved."""

from pathlib import Path

import pytest

from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.runs.folder import evaluation_folder
from response_tuning.support.files import write_json


@pytest.mark.parametrize(
    ("spec", "folder"),
    [
        ("embedded", "base-embedded"),
        ("models/llama.gguf", "base-llama"),
        ("models/plain", "base-plain"),
        ("Qwen/Qwen3-0.6B", "base-Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B@refs/pr/1", "base-Qwen3-0.6B@refs-pr-1"),
        ("hub:google/gemma-3-270m", "base-gemma-3-270m"),
        ("openai-api/faulty/Llama-3.2-1B", "base-Llama-3.2-1B"),
    ],
)
def test_a_model_that_is_no_run_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluation_folder(spec, "probe") == Path("runs") / folder / "evaluations" / "probe"


def test_a_run_and_its_checkpoint_keep_their_own(tmp_path: Path) -> None:
    run, checkpoint = tmp_path / "rt", tmp_path / "rt" / "checkpoints" / "step-8"
    for adapter in (run / "adapter", checkpoint):
        adapter.mkdir(parents=True)
        (adapter / "adapter_config.json").write_text("{}")
    assert evaluation_folder(str(run), "probe") == run / "evaluations" / "probe"
    assert evaluation_folder(str(checkpoint), "probe") == run / "evaluations" / "probe" / "checkpoints" / "step-8"


def write_metrics(spec: str, task: str, **facts: object) -> Path:
    folder = evaluation_folder(spec, task)
    write_json(folder / "metrics.json", {"settings": {"model": spec}, **facts})
    return folder


def test_two_models_of_one_name_have_two_folders_and_a_copy_shares_that_of_its_original(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, weights in (("a", b"1"), ("b", b"2"), ("copy", b"1")):
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
    first = write_metrics("./a/model", "probe", fingerprint=model_fingerprint("./a/model"))
    second = write_metrics("./b/model", "probe", fingerprint=model_fingerprint("./b/model"))
    assert first == Path("runs/base-model/evaluations/probe")
    assert second.parents[1].name == f"base-model-{(model_fingerprint('./b/model') or '')[:8]}"
    assert evaluation_folder("./copy/model", "ifeval").parent == first.parent
    assert evaluation_folder("./a/model", "ifeval").parent == first.parent
    assert evaluation_folder("./b/model", "ifeval").parent == second.parent
    # Other weights in the same place are another model.
    (tmp_path / "a" / "model" / "model.safetensors").write_bytes(b"3")
    assert evaluation_folder("./a/model", "probe") != first


def test_models_without_a_fingerprint_are_told_apart_by_their_whole_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write_metrics("openai/gpt-x", "refusals", fingerprint=None)
    assert evaluation_folder("openai/gpt-x", "just").parent == first.parent
    assert evaluation_folder("openrouter/openai/gpt-x", "just").parent != first.parent
