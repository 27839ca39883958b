"""The base model of an adapter, wherever it was loaded from."""

import json
from pathlib import Path

import pytest

from response_tuning.models.adapter import adapter_folder, base_of_adapter


@pytest.mark.parametrize(
    ("base", "revision", "spec"),
    [
        ("google/gemma-3-270m", None, "hub:google/gemma-3-270m"),
        ("Qwen/Qwen3-0.6B-Base", "v1", "hub:Qwen/Qwen3-0.6B-Base@v1"),
        ("/gone/cache/gemma-3-270m-a5fd3b62230a", None, "embedded"),
        ("/gone/models/mine", None, "/gone/models/mine"),
    ],
)
def test_the_base_is_named_by_a_spec_that_loads_it(tmp_path: Path, base: str, revision: str | None, spec: str) -> None:
    adapter = tmp_path / "run" / "adapter"
    adapter.mkdir(parents=True)
    settings = {"base_model_name_or_path": base, "revision": revision}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert base_of_adapter(adapter) == spec
    assert adapter_folder(str(tmp_path / "run")) == adapter
    assert adapter_folder(str(adapter)) == adapter
    assert adapter_folder(str(tmp_path)) is None


def test_a_base_that_still_exists_is_its_folder(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model_folder)}))
    assert base_of_adapter(tmp_path) == str(model_folder)
