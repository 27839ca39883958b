"""GGUF files: other programs compute from them what transformers computes from the model."""

from pathlib import Path

import pytest
from transformers import OPTConfig, PreTrainedModel, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.export.export_config import GgufType
from response_tuning.export.gguf.gguf_file import check_can_be_gguf, write_gguf
from response_tuning.export.proof import engines
from response_tuning.export.proof.proof import Engine, Proof, make_reference, prove
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError
from tests.export.conftest import SHAPES, random_model

STORED_BITS_TOLERANCE: dict[GgufType, float] = {"f16": 0.02, "bf16": 0.1, "q8_0": 0.2}


def llama_cpp(path: Path, conversation: Conversation) -> Engine:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install 'response-tuning[llama-cpp]'")
    return engines.gguf_engine(path, stop_ids=conversation.stop_token_ids, device="cpu")


def compare(
    tmp_path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    gguf_type: GgufType = "f16",
    format_name: str = "chatml",
) -> Proof:
    """Write a model as GGUF and compare llama.cpp's answers with transformers'."""
    conversation = Conversation(tokenizer, format_name)  # type: ignore[arg-type]
    loaded = LoadedModel(model, tokenizer, "tiny")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, loaded, conversation, name="tiny", licence="unknown", gguf_type=gguf_type)
    references = make_reference(Responder(loaded, conversation), prompts=3, new_tokens=12)
    tolerance = STORED_BITS_TOLERANCE[gguf_type]
    return prove(references, llama_cpp(path, conversation), file=path.name, tolerance=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_llama_cpp_answers_as_the_model_does(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, shape: str) -> None:
    proof = compare(tmp_path, random_model(SHAPES[shape](), tokenizer), tokenizer)
    assert proof.holds, str(proof)
    assert proof.same_tokens + proof.near_ties == proof.tokens


def test_case_31_a_server_reads_the_text_of_a_control_token_as_the_token(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """As docs/export.md says: llama.cpp and transformers render messages into one text and tokenize that."""
    conversation = Conversation(tokenizer, "chatml")
    model = random_model(SHAPES["llama"](), tokenizer)
    write_gguf(
        tmp_path / "tiny.gguf",
        LoadedModel(model, tokenizer, "tiny"),
        conversation,
        name="tiny",
        licence="unknown",
        gguf_type="f16",
    )
    engine, end = llama_cpp(tmp_path / "tiny.gguf", conversation), tokenizer.get_vocab()["<|im_end|>"]
    for text, read_as_tokens in (("Say it < | im_end | >.", 0), ("Say <|im_end|> twice: <|im_end|>.", 2)):
        ours, served = conversation.prompt_ids(text), engine.render(text)
        assert isinstance(end, int)
        assert served.count(end) - ours.count(end) == read_as_tokens
        assert (served == ours) == (read_as_tokens == 0)
        assert served == tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            chat_template=conversation.chat_template,
            add_generation_prompt=True,
            return_dict=False,
        )


@pytest.mark.parametrize("gguf_type", STORED_BITS_TOLERANCE)
def test_fewer_bits_answer_nearly_the_same(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, gguf_type: GgufType
) -> None:
    proof = compare(tmp_path, random_model(SHAPES["llama"](), tokenizer), tokenizer, gguf_type=gguf_type)
    assert proof.holds, str(proof)


@pytest.mark.parametrize("format_name", ["tulu", "question-answer", "alpaca", "chatml"])
def test_a_sentencepiece_tokenizer_gives_the_same_prompt_ids(
    tmp_path: Path, sentencepiece_tokenizer: PreTrainedTokenizerBase, format_name: str
) -> None:
    model = random_model(SHAPES["gemma3"](), sentencepiece_tokenizer)
    proof = compare(tmp_path, model, sentencepiece_tokenizer, format_name=format_name)
    assert proof.holds, str(proof)


@pytest.mark.parametrize("shape", ["llama", "gemma3"])
def test_transformers_reads_the_same_weights_back(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _name: None)
    model = random_model(SHAPES[shape](), tokenizer)
    conversation = Conversation(tokenizer, "chatml")
    loaded = LoadedModel(model, tokenizer, "tiny")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, loaded, conversation, name="tiny", licence="unknown", gguf_type="f16")
    references = make_reference(Responder(loaded, conversation), prompts=2, new_tokens=8)
    engine = engines.gguf_engine(path, stop_ids=conversation.stop_token_ids, device="cpu")
    proof = prove(references, engine, file=path.name, tolerance=0.02)
    assert engine.name == "transformers"
    assert proof.holds, str(proof)


def test_a_weight_too_large_for_half_precision_is_named(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = random_model(SHAPES["llama"](), tokenizer)
    model.get_parameter("model.layers.1.mlp.up_proj.weight")[0, 0] = 1e6
    with pytest.raises(UserError, match=r"blk.1.ffn_up.weight has values too large for f16"):
        write_gguf(
            tmp_path / "tiny.gguf",
            LoadedModel(model, tokenizer, "tiny"),
            Conversation(tokenizer, "tulu"),
            name="tiny",
            licence="unknown",
            gguf_type="f16",
        )


@pytest.mark.parametrize(
    ("shape", "change", "reason"),
    [
        ("llama", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "'yarn'"),
        ("llama", {"hidden_act": "gelu"}, "activation 'gelu'"),
        ("mistral", {"sliding_window": 64}, "sliding attention window"),
        ("gemma3", {"layer_types": ["full_attention"] * 6}, "five to one"),
        ("gemma3", {"query_pre_attn_scalar": 64}, "scaled by 64"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "capped logits"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(shape: str, change: dict[str, object], reason: str) -> None:
    config = SHAPES[shape]()
    check_can_be_gguf(config)
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(UserError, match=reason):
        check_can_be_gguf(config)


def test_an_architecture_without_a_place_is_refused() -> None:
    with pytest.raises(UserError, match="not for 'opt'"):
        check_can_be_gguf(OPTConfig())
