"""What tests share: a tokenizer trained here, and a tiny random model that it fits."""

import os
import signal
from pathlib import Path

# No test may reach for the network; the hub's library reads this when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# A job in the background of a shell ignores Ctrl-C, and so do its children; tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Test processes that run side by side (pytest -n) get a thread each: torch reads this when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.example import Example
from response_tuning.support.terminal import set_up_terminal

# Tests read messages as the command line prints them.
set_up_terminal()

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
"""Real data that others published; beside the project on some machines, and never in it."""


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """A few real pairs: the starter set's held-out ones."""
    return load_examples(STARTER_HELD_OUT)


@pytest.fixture(scope="session")
def tokenizer(examples: list[Example]) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer with BOS, EOS and ChatML's tokens, trained on the examples."""
    return train_tokenizer(examples, special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"])


def train_tokenizer(examples: list[Example], *, special_tokens: list[str]) -> PreTrainedTokenizerBase:
    """Train a tokenizer in the test; the first two special tokens become BOS and EOS."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [f"{example.prompt} {example.completion}" for example in examples]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special_tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(texts, trainer)
    bos, eos, *others = special_tokens
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token=eos, additional_special_tokens=others
    )


def tiny_model(tokenizer: PreTrainedTokenizerBase, *, seed: int = 0) -> LlamaForCausalLM:
    """A random two-layer Llama in fp32 whose vocabulary is the tokenizer's."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        # Wide enough for predictions that differ clearly between tokens.
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config)
    model.eval().requires_grad_(False)
    return model


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """The tiny model, fresh for each test."""
    return tiny_model(tokenizer)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """The tiny model and its tokenizer, saved: a model spec."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture
def tied_folder(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> Path:
    """The tiny model with a head that is its embeddings."""
    folder = tmp_path / "tied"
    config = tiny_model(tokenizer).config
    config.tie_word_embeddings = True
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder
