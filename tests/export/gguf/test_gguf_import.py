"""The import of a GGUF file gives what transformers' own, slower way gives: the same weights, and the same ids."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.export.gguf.gguf_file import write_gguf
from response_tuning.models.embedded import dequantized, import_gguf
from response_tuning.models.gguf_vocabulary import copy_without_vocabulary
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError
from tests.export.conftest import SHAPES, random_model


@pytest.fixture(params=["llama", "gemma3", "qwen2"])
def gguf(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    sentencepiece_tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A tiny model of each kind of tokenizer as a GGUF file, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    used = sentencepiece_tokenizer if request.param == "gemma3" else tokenizer
    loaded = LoadedModel(random_model(SHAPES[request.param](), used), used, "tiny")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, loaded, Conversation(used, "chatml"), name="tiny", licence="unknown", gguf_type="f16")
    return path


def test_an_import_equals_transformers_reading_of_the_whole_file(gguf: Path) -> None:
    location = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    whole = AutoModelForCausalLM.from_pretrained(**location, dtype=torch.float32, **dequantized())
    folder = import_gguf(gguf)
    imported = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert sorted(imported.state_dict()) == sorted(whole.state_dict())
    for name, weight in whole.state_dict().items():
        assert torch.equal(imported.state_dict()[name], weight.bfloat16().float()), name
    tokenizer = AutoTokenizer.from_pretrained(**location)
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(tokenizer.backend_tokenizer.to_str())


def test_the_number_of_tokens_survives_without_the_vocabulary(gguf: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    copy_without_vocabulary(gguf, small / gguf.name)
    assert b"tokenizer.ggml.tokens" not in (small / gguf.name).read_bytes()
    configs = [AutoConfig.from_pretrained(folder, gguf_file=gguf.name) for folder in (gguf.parent, small)]
    assert configs[0].to_dict() | {"_name_or_path": ""} == configs[1].to_dict() | {"_name_or_path": ""}


@pytest.mark.parametrize("gguf", ["llama"], indirect=True)
@pytest.mark.parametrize("kept", [3, 12, 40, 4_000])
def test_a_file_that_is_cut_short_is_refused(gguf: Path, kept: int) -> None:
    gguf.write_bytes(gguf.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"tiny.gguf cannot be loaded: .*(header|not a GGUF)"):
        import_gguf(gguf)
