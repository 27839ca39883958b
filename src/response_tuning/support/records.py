"""Rows of a file before they are interpreted: records, bad rows, and strict JSON."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

__all__ = [
    "BadRow",
    "Record",
    "decode_json",
    "decode_json_values",
    "json_type",
    "json_value",
    "preview",
    "refuse_surrogates",
    "table_record",
]

_PREVIEW_CHARACTERS = 60
_DEEPEST = 100
_DIGITS = 4_000  # Python converts no more than 4,300
_SPACE = re.compile(r"\s*")


@dataclass(frozen=True)
class Record:
    """One row of a file, decoded but not interpreted."""

    place: str
    number: int
    value: Any


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its place and the reason."""

    place: str
    """``file:line`` for files of lines, otherwise ``file row 3`` or the file name."""
    number: int
    """The line, or the row, from 1."""
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def table_record(place: str, number: int, row: Any) -> Record | BadRow:
    """One row of a typed table, as a record of JSON values."""
    try:
        return Record(place, number, json_value(row))
    except ValueError as error:
        return BadRow(place, number, str(error))


def decode_json(text: bytes) -> Any:
    """Decode one JSON value, more strictly than Python does: every accepted value survives a round trip.

    Raises:
        ValueError: it is not UTF-8, not JSON, repeats a field, or has a lone surrogate in a string.
    """
    try:
        value = _DECODER.decode(text.decode("utf-8"))
        # UTF-8 has no lone surrogates, so a string can only contain one as an escape sequence.
        if b"\\u" in text:
            refuse_surrogates(value)
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON ({error.msg} at column {error.colno}): {preview(text)}") from None
    except RecursionError:
        raise ValueError(f"is nested too deeply: {preview(text)}") from None
    if (text.count(b"[") + text.count(b"{") > _DEEPEST) and _depth(value) > _DEEPEST:
        raise ValueError(f"is nested too deeply: {preview(text)}")
    return value


def decode_json_values(text: bytes) -> list[tuple[int, Any]]:
    """Decode JSON values that follow each other, each with the line on which it begins, as strictly as one.

    Raises:
        ValueError: as ``decode_json``.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
    values: list[tuple[int, Any]] = []
    line, start, end = 1, 0, 0
    while (start := _SPACE.match(decoded, end).end()) < len(decoded):  # type: ignore[union-attr]
        line += decoded.count("\n", end, start)
        try:
            value, after = _DECODER.raw_decode(decoded, start)
            if "\\u" in decoded[start:after]:
                refuse_surrogates(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not valid JSON ({error.msg} at line {error.lineno}, column {error.colno})") from None
        except RecursionError:
            raise ValueError(f"is nested too deeply: {preview(text)}") from None
        if _depth(value) > _DEEPEST:
            raise ValueError(f"is nested too deeply: {preview(text)}")
        values.append((line, value))
        line, end = line + decoded.count("\n", start, after), after
    return values


def _depth(value: Any) -> int:
    """The depth of lists and objects, which libraries limit when they write them."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


def json_type(value: object) -> str:
    """The JSON name of the type of ``value``, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def preview(value: object) -> str:
    """The beginning of ``value``, on one line, in ASCII unless it is raw text."""
    if isinstance(value, bytes | str):
        # Slice first: a response may have megabytes.
        value = value[: 4 * _PREVIEW_CHARACTERS]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else ascii(value)
    return text if len(text) <= _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS] + "..."


def json_value(value: Any, field: str = "") -> Any:
    """Convert a value of a typed table to JSON: dates and exact decimals become strings, NaN and infinities null.

    Raises:
        ValueError: a value, such as bytes or an image, has no JSON form.
    """
    if isinstance(value, dict):
        return {str(name): json_value(part, f"{field}.{name}" if field else str(name)) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(part, field) for part in value]
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal | timedelta | UUID):
        return str(value)
    if isinstance(value, float) and not isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(
        f"field {field!r} holds {type(value).__name__}, which JSON does not know. Leave the column out, or "
        "store it as text."
    )


def refuse_surrogates(value: object, field: str = "") -> None:
    """Reject lone surrogates, which JSON can carry but UTF-8 files and tokenizers cannot.

    Raises:
        ValueError: ``value``, or a value nested in it, contains one.
    """
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            where = f"field {field!r} " if field else ""
            raise ValueError(f"{where}has a lone surrogate at character {error.start}") from None
    elif isinstance(value, dict):
        for name, part in value.items():
            refuse_surrogates(name, "(a field's name)")
            refuse_surrogates(part, f"{field}.{name}" if field else name)
    elif isinstance(value, list):
        for part in value:
            refuse_surrogates(part, field)


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = Counter(names).most_common(1)[0][0]
        raise ValueError(f"names the field {twice!r} twice")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"holds {name}, which JSON does not know")


def _finite(text: str) -> float:
    if not isfinite(number := float(text)):
        raise ValueError(f"holds the number {preview(text)}, which is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"holds a number of {len(text):,} digits, which is too large")
    return int(text)


# A NaN would not equal itself after a round trip.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_fields, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole
)
