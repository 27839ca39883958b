"""Where the evaluations of a model are saved."""

from pathlib import Path

import pytest

from response_tuning.runs.folder import evaluation_folder


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
