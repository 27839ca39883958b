"""A GGUF file without its vocabulary, which readers of weights need not parse.

The ``gguf`` package makes several arrays of every token when it opens a file: half a minute for a vocabulary of
262,144, each time. transformers opens a file that way for the configuration and again for the weights, so both are
loaded from a copy without the vocabulary, and only the tokenizer from the file itself.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["copy_without_vocabulary"]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_UINT32, _STRING, _ARRAY = 4, 8, 9
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value of each type of fixed size."""
_VOCABULARY = tuple(f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "scores", "merges"))
_TOKENS = _VOCABULARY[0]
_COPIED_BYTES = 16 * 2**20


@dataclass(frozen=True)
class _Entry:
    """One key of the metadata."""

    key: str
    packed: bytes
    """Key, type and value as the file has them."""
    count: int
    """Elements of an array; 1 for other values."""
    number: int | None
    """The value, if it is a uint32."""


def copy_without_vocabulary(source: Path, target: Path) -> None:
    """Write the metadata and tensors of ``source`` to ``target``, except the arrays with an element per token.

    The number of tokens is kept as ``ARCHITECTURE.vocab_size``.

    Raises:
        ValueError: it is no GGUF file of a known version, or is cut short.
    """
    with source.open("rb") as file:
        version, tensor_count, entry_count = _read_beginning(file)
        entries = [_read_entry(file) for _ in range(entry_count)]
        tensors = b"".join(_read_tensor_info(file) for _ in range(tensor_count))
        alignment = next((entry.number for entry in entries if entry.key == "general.alignment"), None) or 32
        data_start = _round_up(file.tell(), alignment)
        kept = [entry.packed for entry in entries if entry.key not in _VOCABULARY]
        kept += _vocabulary_size(entries)
        with target.open("wb") as copy:
            copy.write(_MAGIC + struct.pack("<IQQ", version, tensor_count, len(kept)))
            copy.write(b"".join(kept) + tensors)
            copy.write(bytes(_round_up(copy.tell(), alignment) - copy.tell()))
            file.seek(data_start)
            shutil.copyfileobj(file, copy, _COPIED_BYTES)


def _read_beginning(file: BinaryIO) -> tuple[int, int, int]:
    """The version and the numbers of tensors and of metadata entries."""
    if _read(file, 4) != _MAGIC:
        raise ValueError("it is not a GGUF file")
    version, tensor_count, entry_count = struct.unpack("<IQQ", _read(file, 20))
    if version not in _VERSIONS:
        raise ValueError(f"GGUF version {version} is not supported (little-endian, version 2 or 3)")
    return version, tensor_count, entry_count


def _read_entry(file: BinaryIO) -> _Entry:
    key = _read_string(file)
    kind = _read(file, 4)
    (value_type,) = struct.unpack("<I", kind)
    value, count = _read_value(file, value_type)
    number = struct.unpack("<I", value)[0] if value_type == _UINT32 else None
    return _Entry(key[8:].decode(), key + kind + value, count, number)


def _read_value(file: BinaryIO, value_type: int) -> tuple[bytes, int]:
    """A value as the file has it, and its number of elements."""
    if value_type == _STRING:
        return _read_string(file), 1
    if value_type != _ARRAY:
        return _read(file, _width(value_type)), 1
    head = _read(file, 12)
    element_type, count = struct.unpack("<IQ", head)
    if element_type in (_STRING, _ARRAY):
        return head + b"".join(_read_value(file, element_type)[0] for _ in range(count)), count
    return head + _read(file, count * _width(element_type)), count


def _width(value_type: int) -> int:
    if value_type not in _WIDTHS:
        raise ValueError(f"its metadata has a value of the unknown type {value_type}")
    return _WIDTHS[value_type]


def _read_string(file: BinaryIO) -> bytes:
    """A string with its length before it."""
    length = _read(file, 8)
    return length + _read(file, int.from_bytes(length, "little"))


def _read_tensor_info(file: BinaryIO) -> bytes:
    name, dimensions = _read_string(file), _read(file, 4)
    return name + dimensions + _read(file, int.from_bytes(dimensions, "little") * 8 + 12)


def _vocabulary_size(entries: list[_Entry]) -> list[bytes]:
    """The entry that replaces the vocabulary, unless there is one already."""
    text = {entry.key: entry.packed for entry in entries}
    tokens = next((entry.count for entry in entries if entry.key == _TOKENS), None)
    architecture = text.get("general.architecture", b"")[8 + len("general.architecture") + 12 :].decode()
    key = f"{architecture}.vocab_size"
    if tokens is None or key in text:
        return []
    return [struct.pack("<Q", len(key)) + key.encode() + struct.pack("<II", _UINT32, tokens)]


def _read(file: BinaryIO, count: int) -> bytes:
    found = file.read(count)
    if len(found) != count:
        raise ValueError("the file ends within its header")
    return found


def _round_up(position: int, alignment: int) -> int:
    return position + -position % alignment
