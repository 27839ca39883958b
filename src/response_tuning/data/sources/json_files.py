"""JSON files by what they hold: a list of rows, JSON Lines, columns, rows wrapped in an object, values one by one."""

from pathlib import Path
from typing import Any

from response_tuning.support.errors import UserError
from response_tuning.support.input_files import (
    BYTE_ORDER_MARK,
    DAMAGED,
    Records,
    open_bytes,
    read_bytes,
    read_json_lines_file,
)
from response_tuning.support.progress import say
from response_tuning.support.records import BadRow, Record, decode_json, decode_json_values

__all__ = ["holds_json_lines", "read_json", "read_json_lines"]


def read_json_lines(path: Path) -> Records:
    """A file of one row per line, or of any other form of JSON where its first line is no row.

    Raises:
        UserError: the file cannot be read.
    """
    return read_json_lines_file(path) if holds_json_lines(path) else _whole(path, lines=True)


def read_json(path: Path) -> Records:
    """A JSON file: a list of rows, or any other form that holds rows.

    Raises:
        UserError: the file cannot be read, or is not JSON.
    """
    return _whole(path, lines=False)


def holds_json_lines(path: Path) -> bool:
    """Whether each line is a row of its own, so that lines can be copied: the first line decides."""
    with open_bytes(path) as file:
        try:
            first = next((line for line in file if line.strip(b"\xef\xbb\xbf \t\r\n")), b"")
            more = next((line for line in file if line.strip()), b"")
        except (*DAMAGED, ValueError):
            return True  # read_json_lines_file names what is wrong
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    text = first.removeprefix(BYTE_ORDER_MARK).strip()
    if not text.startswith((b"{", b"[")):
        return True
    try:
        value = decode_json(text)
    except ValueError:
        # A row that is broken, or the beginning of a value of several lines.
        return text not in (b"{", b"[", b"[{") and not _is_one_value_of_several_lines(path)
    return not (isinstance(value, list) and not more and all(isinstance(row, dict) for row in value))


def _is_one_value_of_several_lines(path: Path) -> bool:
    try:
        return bool(decode_json_values(read_bytes(path)))
    except ValueError:
        return False


def _whole(path: Path, *, lines: bool) -> Records:
    content = read_bytes(path).strip()
    if not content:
        return
    try:
        values = decode_json_values(content)
    except ValueError as error:
        if lines or _second_line_is_a_row(content):
            yield from _line_by_line(path, content)
            return
        raise UserError(f"{path} {error}") from None
    if len(values) > 1:
        for line, value in values:
            yield Record(f"{path}:{line}", line, value)
        return
    for number, row in enumerate(_rows(path, values[0][1]), start=1):
        yield Record(f"{path} row {number}", number, row)


def _second_line_is_a_row(content: bytes) -> bool:
    """Whether a .json file is JSON Lines with bad rows: its first or second line is an object."""
    for line in content.split(b"\n", 2)[:2]:
        try:
            if isinstance(decode_json(line.strip()), dict):
                return True
        except ValueError:
            continue
    return False


def _line_by_line(path: Path, content: bytes) -> Records:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            yield Record(place, number, decode_json(line.strip(b" \t\r\n")))
        except ValueError as error:
            yield BadRow(place, number, str(error))


def _rows(path: Path, value: Any) -> list[Any]:
    """The rows of one JSON value."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict) or not value:
        return [value]
    parts = list(value.values())
    if _is_split(value):
        return [dict(zip(value["columns"], row, strict=True)) for row in value["data"]]
    are_columns = all(isinstance(part, list) and not _are_rows(part) for part in parts)
    if are_columns and len({len(part) for part in parts}) == 1:
        say(f"{path}: read as columns")
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)]
    if all(isinstance(part, dict) for part in parts):
        keys = list(parts[0])
        if keys and all(key.isdigit() for key in keys) and all(list(part) == keys for part in parts):
            say(f"{path}: read as columns")  # pandas, orient="columns"
            return [{name: part[key] for name, part in value.items()} for key in keys]
        if all(key.isdigit() for key in value):  # pandas, orient="index"
            return parts
        if len(parts) > 1 and len(keys) > 1 and "role" not in keys and all(part.keys() == set(keys) for part in parts):
            say(f"{path}: read as rows by name; not used: the names")
            return parts
    return _wrapped(path, value)


def _is_split(value: dict[str, Any]) -> bool:
    """Whether it is a table as pandas writes it with orient="split"."""
    columns, data = value.get("columns"), value.get("data")
    if not set(value) <= {"columns", "data", "index"} or not isinstance(columns, list) or not isinstance(data, list):
        return False
    return all(isinstance(name, str) for name in columns) and all(
        isinstance(row, list) and len(row) == len(columns) for row in data
    )


def _are_rows(part: object) -> bool:
    return isinstance(part, list) and bool(part) and all(isinstance(row, dict) for row in part)


def _wrapped(path: Path, value: dict[str, Any]) -> list[Any]:
    """The rows in one field of an object; an object without such a field is one row."""
    if any(name in value for name in ("completion", "messages", "conversations", "conversation", "output", "choices")):
        return [value]
    named = [name for name, part in value.items() if _are_rows(part)]
    if len(named) > 1:
        raise UserError(
            f"{path} holds rows in several fields ({', '.join(named)}). Write the ones to use to a file of their own."
        )
    if not named:
        return [value]
    others = [name for name in value if name != named[0]]
    say(f"{path}: rows of the field {named[0]!r}" + (f"; not used: {', '.join(others)}" if others else ""))
    rows: list[Any] = value[named[0]]
    return rows
