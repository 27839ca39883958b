"""Tiny random models of every shape that a GGUF file can hold, and a tokenizer like Gemma's."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from response_tuning.example import Example

_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    # Wide enough for predictions that differ clearly between tokens.
    "initializer_range": 0.2,
}
_LLAMA3_POSITIONS = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}

SHAPES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_SHAPE, tie_word_embeddings=False),
    "llama, tied": lambda: LlamaConfig(**_SHAPE, tie_word_embeddings=True),
    "llama 3.1": lambda: LlamaConfig(**_SHAPE, rope_parameters=_LLAMA3_POSITIONS),
    "mistral": lambda: MistralConfig(**_SHAPE, sliding_window=None),
    "qwen2": lambda: Qwen2Config(**{**_SHAPE, "head_dim": 16}),
    "qwen3": lambda: Qwen3Config(**_SHAPE),
    # Two windows of eight tokens and six layers: both kinds of attention matter in a prompt of twenty.
    "gemma3": lambda: Gemma3TextConfig(
        **{**_SHAPE, "num_hidden_layers": 6, "head_dim": 256}, sliding_window=8, query_pre_attn_scalar=256
    ),
}


def random_model(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A model in fp32 whose norms and biases are random too, so that none of them could be left out."""
    torch.manual_seed(0)
    config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    config.pad_token_id = None
    model = AutoModelForCausalLM.from_config(config)
    assert isinstance(model, PreTrainedModel)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.eval().requires_grad_(False)
    return model


@pytest.fixture(scope="session")
def sentencepiece_tokenizer(examples: list[Example]) -> PreTrainedTokenizerBase:
    """A BPE tokenizer in SentencePiece's manner, like Gemma's: spaces are letters, unknown ones become bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words = [f"\u2581{word}" for example in examples for word in example.completion.split()]
    letters = sorted({letter for word in words for letter in word if letter.isascii()} | {"\u2581"})
    # Every beginning of the commonest words is a token, made of the beginning before it and one letter.
    beginnings = {
        word[:end]: (word[: end - 1], word[end - 1])
        for word, _ in Counter(word for word in words if word[1:].isascii()).most_common(120)
        for end in range(2, len(word) + 1)
    }
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *beginnings, *letters]
    vocabulary = {token: row for row, token in enumerate(tokens)}
    merges = list(beginnings.values())
    backend = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.add_tokens([AddedToken("  ", normalized=False, special=False)])
    return tokenizer
