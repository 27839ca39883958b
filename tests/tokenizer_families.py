"""Tokenizers of every family that base models come with, trained in the test."""

from collections.abc import Callable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

__all__ = ["FAMILIES", "make_tokenizer"]

TEXTS = [
    "Question: Why is the sky blue?\n\nAnswer: Air scatters blue light the most.",
    "<|user|>\nName a river.\n<|assistant|>\nThe Danube.",
    "### Instruction:\nSay hello.\n\n### Response:\nHello! How are you?",
    "<|im_start|>user\nWhat is rain?<|im_end|>\n<|im_start|>assistant\nWater.<|im_end|>",
]
LINES = [line for text in TEXTS for line in text.splitlines()]
"""SentencePiece learns no piece with a line break, which becomes a byte."""
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level(*, add_prefix_space: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentencepiece(prepend: str) -> Tokenizer:
    """Llama 2's kind: BPE with byte fallback. A space goes before a text by a normalizer ("normalizer", legacy), before
    every part ("always", legacy too), before the first part alone ("first"), or nowhere ("never")."""
    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    learned.train_from_iterator(LINES * 3, trainers.BpeTrainer(vocab_size=330 + 200, special_tokens=[*SPECIAL, *BYTES]))
    tokenizer = Tokenizer.from_str(learned.to_str().replace('"byte_fallback":false', '"byte_fallback":true'))
    if prepend == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        tokenizer.pre_tokenizer = None
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL))
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.train_from_iterator(
        [*LINES, "\n", "\n"], trainers.UnigramTrainer(vocab_size=150, special_tokens=SPECIAL, unk_token="<unk>")
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte-level BPE": lambda: byte_level(add_prefix_space=False),
    "byte-level BPE with a prefix space": lambda: byte_level(add_prefix_space=True),
    "SentencePiece, legacy": lambda: sentencepiece("always"),
    "SentencePiece, Prepend normalizer": lambda: sentencepiece("normalizer"),
    "SentencePiece": lambda: sentencepiece("first"),
    "SentencePiece without a prefix": lambda: sentencepiece("never"),
    "WordPiece": word_pieces,
    "Unigram": unigram,
}


def make_tokenizer(family: str) -> PreTrainedTokenizerBase:
    return PreTrainedTokenizerFast(
        tokenizer_object=FAMILIES[family](), bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
