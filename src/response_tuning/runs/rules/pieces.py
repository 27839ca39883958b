"""Texts as token ids: a rule names a token by its text, whatever the tokenizer writes it as."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from transformers.convert_slow_tokenizer import bytes_to_unicode

from response_tuning.conversation import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["format_marks", "ids_of_piece"]

_WORD_MARK = "\N{LOWER ONE EIGHTH BLOCK}"  # a space, in the vocabularies of SentencePiece
_PUBLISHED_MARKS = {"tulu": ("<", " <", "|")}


def ids_of_piece(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Every id whose text, within a text, is exactly ``text``; special tokens are left out.

    A byte token, such as ``<0x3C>``, counts only where no other token has the text: the tokenizer falls back on it
    there alone.

    Args:
        tokenizer: of any kind: SentencePiece, byte-level, WordPiece.
        text: with its spaces and line breaks.

    Returns:
        The ids in ascending order; none if no token has this text.
    """
    ids = {found for name in _names(text) if (found := _id_of(tokenizer, name)) is not None}
    matching = sorted(
        token for token in ids if not _is_special(tokenizer, token) and _text_within(tokenizer, token) == text
    )
    # Some vocabularies mark byte tokens as special.
    byte = _id_of(tokenizer, _byte_name(text))
    return matching or ([byte] if byte is not None and _text_within(tokenizer, byte) == text else [])


def format_marks(conversation: Conversation) -> dict[str, list[int]]:
    """The tokens with which the tags of a chat format begin, by text.

    The first token of the user tag and of the assistant tag, with and without a space before it; for Tulu's tags also
    the three texts of the paper, ``<``, `` <`` and ``|``. A special token, such as ChatML's, is a mark as it is.
    """
    tokenizer, marks = conversation.tokenizer, dict[str, list[int]]()
    texts = list(_PUBLISHED_MARKS.get(conversation.format_name, ()))
    for token in conversation.tag_ids:
        if _is_special(tokenizer, token):
            marks[str(tokenizer.convert_ids_to_tokens(token))] = [token]
        elif text := _text_within(tokenizer, token).strip():
            texts += [text, f" {text}"]
    return {text: ids_of_piece(tokenizer, text) for text in texts} | marks


def _names(text: str) -> Iterator[str]:
    """What tokenizers of all kinds may call the token of a text in their vocabularies."""
    yield text
    yield text.replace(" ", _WORD_MARK)
    byte_names = bytes_to_unicode()
    yield "".join(byte_names[byte] for byte in text.encode())
    yield text[1:] if text.startswith(" ") else f"##{text}"


def _byte_name(text: str) -> str:
    """What SentencePiece calls the token of a single byte; empty for a longer text."""
    encoded = text.encode()
    return f"<0x{encoded[0]:02X}>" if len(encoded) == 1 else ""


def _id_of(tokenizer: "PreTrainedTokenizerBase", name: str) -> int | None:
    """The id of a token in the vocabulary; None of another name."""
    token = tokenizer.convert_tokens_to_ids(name) if name else None
    if not isinstance(token, int) or tokenizer.convert_ids_to_tokens(token) != name:  # a missing name is "unknown"
        return None
    return token


def _is_special(tokenizer: "PreTrainedTokenizerBase", token: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(token)
    return token in tokenizer.all_special_ids or (added is not None and added.special)


def _text_within(tokenizer: "PreTrainedTokenizerBase", token: int) -> str:
    """The text of a token that follows another one: at the beginning of a text, decoders strip a space."""
    anchor = tokenizer("a", add_special_tokens=False).input_ids
    before, both = (
        tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        for ids in (anchor, [*anchor, token])
    )
    assert isinstance(before, str)
    assert isinstance(both, str)
    return both.removeprefix(before)
