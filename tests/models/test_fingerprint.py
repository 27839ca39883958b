"""Fingerprints of models: the same wherever a model lies, and another for other weights."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from response_tuning.models import fingerprint as fingerprint_module
from response_tuning.models.fingerprint import model_fingerprint


def test_a_copy_has_the_fingerprint_of_its_model_and_other_weights_have_another(
    model_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    first = model_fingerprint(str(model_folder))
    assert first is not None
    assert model_fingerprint(str(copy)) == first
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 0.5
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert model_fingerprint(str(copy)) not in (first, None)


def test_a_run_is_its_adapter_and_the_base_below_it_wherever_either_lies(model_folder: Path, tmp_path: Path) -> None:
    def run(name: str, base: Path, *, alpha: int = 16) -> str | None:
        adapter = tmp_path / name / "adapter"
        adapter.mkdir(parents=True)
        settings = {"lora_alpha": alpha, "base_model_name_or_path": str(base)}
        (adapter / "adapter_config.json").write_text(json.dumps(settings))
        (adapter / "adapter_model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "training.jsonl").write_text(name)  # no part of the model
        return model_fingerprint(str(tmp_path / name))

    moved, changed = tmp_path / "moved", tmp_path / "changed"
    for folder in (moved, changed):
        shutil.copytree(model_folder, folder)
    (changed / "config.json").write_text("{}")
    first = run("first", model_folder)
    assert run("second", moved) == first
    assert run("third", changed) != first
    assert run("fourth", model_folder, alpha=32) != first


def test_a_large_file_is_read_in_pieces_from_its_beginning_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint_module, "_MEBIBYTE", 10)
    path = tmp_path / "weights.gguf"
    content = bytearray(range(256)) * 10

    def fingerprint_with(position: int) -> str | None:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        return model_fingerprint(str(path))

    positions = [0, 5, len(content) - 5, len(content) - 1]
    assert len({fingerprint_with(position) for position in positions}) == len(positions)


def test_what_has_only_a_name_has_no_fingerprint() -> None:
    for spec in ("embedded", "embedded-instruct", "somebody/no-such-model", "not a name at all"):
        assert model_fingerprint(spec) is None
