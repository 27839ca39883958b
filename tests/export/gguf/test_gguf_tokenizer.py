"""Tokenizers in GGUF files: llama.cpp cuts any text into the tokens that transformers cuts it into."""

import json
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from response_tuning.conversation import Conversation
from response_tuning.example import Example
from response_tuning.export.gguf.gguf_file import write_gguf
from response_tuning.export.gguf.gguf_tokenizer import read_vocabulary
from response_tuning.export.proof import engines
from response_tuning.export.proof.proof import make_dialogue
from response_tuning.models.load import LoadedModel, load_tokenizer
from response_tuning.support.errors import UserError
from response_tuning.support.options import EMBEDDED, FormatName
from tests.export.conftest import SHAPES, random_model
from tests.tokenizer_families import make_tokenizer

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
AWKWARD_TEXTS = [
    "It's 1234567 o'clock, WE'LL see!!",
    "two  spaces,   three,\ttab\n\nblank line \n trailing",
    "Ünïcödé, 日本語, и кириллица, 🦔🌷, e\u0301",
    # No text of a control token: llama.cpp reads it as the token, which a user's text never becomes here.
    "def f(x):\n    return x ** 2  # <|start|>",
    "<table><tr>1.5e-3</tr></table> \u2581 <0x41>",
    # Not at its ends: where Python trims every kind of space, llama.cpp trims ASCII's.
    "no-break\u00a0space, wide\u3000space",
]


def byte_level_tokenizer(
    tokenizer: PreTrainedTokenizerBase, pre_tokenizer: pre_tokenizers.PreTokenizer
) -> PreTrainedTokenizerBase:
    """The tokenizer of the tests with another rule for words."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )


def split_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    """As Llama 3 and Qwen have it."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


RULES = {
    "llama-bpe": split_by(LLAMA_3),
    "qwen2": split_by(QWEN_2),
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}


def check_prompts(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, texts: list[str], *, shape: str, format_name: FormatName
) -> None:
    """Every text has the same prompt ids in llama.cpp, from template and tokenizer of the file."""
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: pip install 'response-tuning[llama-cpp]'")
    conversation = Conversation(tokenizer, format_name)
    loaded = LoadedModel(random_model(SHAPES[shape](), tokenizer), tokenizer, "tiny")
    path = tmp_path / "tiny.gguf"
    write_gguf(path, loaded, conversation, name="tiny", licence="unknown", gguf_type="f16")
    engine = engines.gguf_engine(path, stop_ids=conversation.stop_token_ids, device="cpu")
    for text in texts:
        assert engine.render(text) == conversation.prompt_ids(text), text
    messages, ids = make_dialogue(conversation)
    assert engine.render(messages) == ids


@pytest.mark.parametrize("rule", RULES)
def test_a_byte_level_tokenizer_cuts_words_by_the_same_rule(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, examples: list[Example], rule: str
) -> None:
    ruled = byte_level_tokenizer(tokenizer, RULES[rule])
    assert read_vocabulary(ruled, rows=len(ruled)).pre == rule
    texts = AWKWARD_TEXTS + [example.completion for example in examples[:20]]
    check_prompts(tmp_path, ruled, texts, shape="llama", format_name="chatml")


def test_a_tokenizer_without_a_beginning_token_gets_none(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """As Qwen's: llama.cpp would take another token for it."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    without = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    assert without.bos_token_id is None
    check_prompts(tmp_path, without, AWKWARD_TEXTS, shape="qwen3", format_name="chatml")


def test_a_sentencepiece_tokenizer_cuts_the_same_tokens(
    tmp_path: Path, sentencepiece_tokenizer: PreTrainedTokenizerBase, examples: list[Example]
) -> None:
    texts = AWKWARD_TEXTS + [example.completion for example in examples[:20]]
    check_prompts(tmp_path, sentencepiece_tokenizer, texts, shape="llama", format_name="tulu")


@pytest.mark.parametrize("family", ["SentencePiece", "SentencePiece, Prepend normalizer", "SentencePiece, legacy"])
def test_llama_2s_tokenizers_cut_the_same_tokens(tmp_path: Path, family: str) -> None:
    """``legacy=False`` puts a space before the first text of all, and none behind BOS; legacy ones do both."""
    tokenizer = make_tokenizer(family)
    assert read_vocabulary(tokenizer, rows=len(tokenizer)).add_space_prefix == (family != "SentencePiece")
    texts = ["Why is the sky blue?", "Name a river.", "Hello! How are you?", "Say \u00fc\u4e2d"]
    check_prompts(tmp_path, tokenizer, texts, shape="llama", format_name="tulu")


@pytest.mark.slow
def test_the_embedded_tokenizer_cuts_the_same_tokens(tmp_path: Path, examples: list[Example]) -> None:
    texts = AWKWARD_TEXTS + [example.completion for example in examples]
    tokenizer = load_tokenizer(EMBEDDED)
    check_prompts(tmp_path, tokenizer, texts, shape="gemma3", format_name="question-answer")


def test_rows_without_a_token_are_unused(tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = read_vocabulary(tokenizer, rows=len(tokenizer) + 2)
    assert vocabulary.tokens[-1] == f"[UNUSED_{len(tokenizer) + 1}]"
    assert vocabulary.token_types[-3:] == [1, 5, 5]
    assert vocabulary.token_types[:4] == [3, 3, 3, 3]


def test_more_tokens_than_rows_are_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="only 10 rows"):
        read_vocabulary(tokenizer, rows=10)


def test_a_rule_that_llama_cpp_does_not_know_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match="rule for splitting text into words"):
        read_vocabulary(byte_level_tokenizer(tokenizer, split_by(r"\w+")), rows=1000)


def test_a_tokenizer_that_is_not_bpe_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"] = {"type": "WordLevel", "vocab": state["model"]["vocab"], "unk_token": "<s>"}
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="</s>")
    with pytest.raises(UserError, match="a WordLevel model"):
        read_vocabulary(words, rows=1000)
