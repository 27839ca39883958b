"""A fast tokenizer as the vocabulary of a GGUF file.

Two kinds of llama.cpp's vocabularies matter here. Byte-level BPE (``gpt2``: Llama 3, Qwen, SmolLM) is defined by its
merges and the name of the rule that splits text into words. SentencePiece BPE (``llama``: Gemma, Llama 2) is defined by
one score per token: the neighbouring pieces whose union scores highest are merged first. A fast tokenizer holds the
same order as a list of merges, so a token's score is the rank of its merge.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from response_tuning.support.errors import UserError

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

__all__ = ["GgufVocabulary", "read_vocabulary", "write_vocabulary"]

_SENTENCEPIECE_SPACE = "\u2581"

# The expressions as tokenizers publish them, and llama.cpp's names for them (llama-vocab.cpp).
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_MARKS_AND_SPACES = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD_RULES = {
    _WORDS + r"\p{N}{1,3}" + _MARKS_AND_SPACES: "llama-bpe",
    _WORDS + r"\p{N}" + _MARKS_AND_SPACES: "qwen2",
}


@dataclass(frozen=True)
class GgufVocabulary:
    """A tokenizer as a GGUF file holds it. Lists are indexed by token id, one entry per row of the embedding."""

    model: str
    """``gpt2`` for byte-level BPE, ``llama`` for SentencePiece BPE."""
    pre: str
    """The rule that splits text into words."""
    tokens: list[str]
    token_types: list[int]
    """As ``gguf.TokenType``: normal 1, unknown 2, control 3, user-defined 4, unused 5, byte 6."""
    merges: list[str]
    """Empty for SentencePiece."""
    scores: list[float]
    """Empty for byte-level BPE."""
    add_space_prefix: bool


def read_vocabulary(tokenizer: "PreTrainedTokenizerBase", *, rows: int) -> GgufVocabulary:
    """The vocabulary of a fast BPE tokenizer, padded with unused tokens to the embedding's ``rows``.

    Raises:
        UserError: it is no BPE tokenizer of the two kinds, or has more tokens than the model has rows.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {"type": "slow"}}
    model = state["model"]
    if model["type"] != "BPE":
        raise UserError(f"A GGUF file cannot hold this tokenizer (a {model['type']} model); BPE is what it can hold.")
    ids: dict[str, int] = model["vocab"] | {token["content"]: token["id"] for token in state["added_tokens"]}
    if max(ids.values()) >= rows:
        raise UserError(f"The tokenizer has the token id {max(ids.values())}, but the model only {rows} rows.")
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
    tokens, types = _tokens_and_types(state, ids, rows)
    if model.get("byte_fallback"):
        scores = _scores(tokens, merges)
        return GgufVocabulary("llama", "default", tokens, types, [], scores, _puts_space_before(tokenizer))
    joined = [" ".join(merge) for merge in merges]
    return GgufVocabulary("gpt2", _word_rule(state), tokens, types, joined, [], add_space_prefix=False)


def write_vocabulary(
    writer: "GGUFWriter",
    vocabulary: GgufVocabulary,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    stop_ids: list[int],
    add_bos: bool,
    chat_template: str,
) -> None:
    """Write the vocabulary, the special tokens and the chat template into a GGUF file's metadata.

    ``stop_ids`` are the trained stop token and the end-of-sequence token, one or two ids; a server stops at both.
    """
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.token_types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if isinstance(tokenizer.bos_token_id, int):
        writer.add_bos_token_id(tokenizer.bos_token_id)
    if isinstance(tokenizer.unk_token_id, int):
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if isinstance(tokenizer.pad_token_id, int):
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_eos_token_id(stop_ids[-1])
    writer.add_eot_token_id(stop_ids[0])
    writer.add_add_bos_token(add_bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(vocabulary.add_space_prefix)
    writer.add_chat_template(chat_template)


def _tokens_and_types(state: dict[str, Any], ids: dict[str, int], rows: int) -> tuple[list[str], list[int]]:
    from gguf import TokenType

    tokens = [f"[UNUSED_{row}]" for row in range(rows)]
    types = [int(TokenType.UNUSED)] * rows
    for token, row in ids.items():
        tokens[row], types[row] = token, int(TokenType.NORMAL)
    if state["model"].get("byte_fallback"):
        for byte in range(256):
            if (byte_row := ids.get(f"<0x{byte:02X}>")) is not None:
                types[byte_row] = int(TokenType.BYTE)
    for added in state["added_tokens"]:
        types[added["id"]] = int(TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED)
        if not added["special"]:
            # Such a token is matched in the original text, in which a space is still a space.
            tokens[added["id"]] = added["content"].replace(_SENTENCEPIECE_SPACE, " ")
    return tokens, types


def _scores(tokens: list[str], merges: list[tuple[str, ...]]) -> list[float]:
    """The token of the first merge scores 0, of the second -1, and so on; a token without a merge scores lowest."""
    earliest: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        earliest.setdefault("".join(merge), rank)
    return [-float(earliest.get(token, len(merges))) for token in tokens]


def _puts_space_before(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether the tokenizer puts a space before a text that follows a control token.

    llama.cpp knows one answer for all of them. Llama 2's tokenizer has two: before the first text of all, it puts one,
    and with ``legacy=False`` none behind a control token, with which every prompt here begins.
    """
    control = tokenizer.bos_token or tokenizer.eos_token
    alone, behind = (tokenizer(text, add_special_tokens=False).input_ids for text in (str(control), f"{control}x"))
    first = str(tokenizer.convert_ids_to_tokens(behind[len(alone)]))
    return first.startswith(_SENTENCEPIECE_SPACE)


def _word_rule(state: dict[str, Any]) -> str:
    """llama.cpp's name for the rule by which a byte-level tokenizer splits text into words."""
    steps = _steps(state["pre_tokenizer"], "pretokenizers")
    patterns = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    kinds = [step["type"] for step in steps]
    byte_level = next((step for step in steps if step["type"] == "ByteLevel"), None)
    if byte_level is not None and not byte_level["add_prefix_space"] and state["normalizer"] in _HARMLESS_NORMALIZERS:
        if kinds == ["Split", "ByteLevel"] and patterns[0] in _WORD_RULES and not byte_level["use_regex"]:
            return _WORD_RULES[patterns[0]]
        if kinds == ["ByteLevel"] and byte_level["use_regex"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and byte_level["use_regex"]:
            return "smollm"
    raise UserError(
        "A GGUF file cannot hold this tokenizer's rule for splitting text into words: llama.cpp has those of Llama 3, "
        f"Qwen, SmolLM and GPT-2, and this one is {json.dumps(state['pre_tokenizer'])[:200]}. Export safetensors only."
    )


_HARMLESS_NORMALIZERS: tuple[Any, ...] = (None, {"type": "NFC"})
"""llama.cpp does not compose accents (Qwen does); text from a keyboard is composed already."""


def _steps(stage: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if stage is None:
        return []
    steps: list[dict[str, Any]] = stage[key] if stage["type"] == "Sequence" else [stage]
    return steps
