"""A tokenizer with the ids of a published vocabulary, made here: the tokens that rules name, and filling."""

from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

LLAMA_2_IDS = {
    "<": 29966,
    " <": 529,
    "|": 29989,
    " I": 306,
    "I": 29902,
    " We": 1334,
    "What": 5618,
    " should": 881,
    " *": 334,
    " -": 448,
    "   ": 1678,
    " #": 396,
    " ##": 444,
    "\n": 13,
    "!": 29991,
}
"""The fifteen pieces of Hewitt et al. 2024 (open_instruct/combined_model.py), by their texts."""
WORD_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
_SINGLE = "abcdefghijklmnopqrstuvwxyzWCQA?.,>*-#"


def llama_2_like() -> PreTrainedTokenizerBase:
    """A SentencePiece tokenizer of 32,000 tokens in which the fifteen pieces, BOS, EOS, the byte tokens and the word
    mark have their ids in Llama-2's vocabulary."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary |= {text.replace(" ", WORD_MARK): token for text, token in LLAMA_2_IDS.items() if text != "\n"}
    vocabulary[WORD_MARK] = 29871
    taken = set(vocabulary.values())
    free = [token for token in range(32_000) if token not in taken]
    vocabulary |= dict(zip(_SINGLE, reversed(free), strict=False))
    vocabulary |= {f"filling{token}": token for token in free[: -len(_SINGLE)]}
    backend = Tokenizer(models.BPE(vocabulary, [(WORD_MARK, "<")], unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(WORD_MARK), normalizers.Replace(" ", WORD_MARK)])
    backend.decoder = decoders.Sequence(
        [decoders.Replace(WORD_MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
