"""The requests of a batch (OpenAI, Anthropic), which its output file names by ``custom_id`` alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from response_tuning.data.sources.json_files import read_json_lines
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import Records
from response_tuning.support.progress import say
from response_tuning.support.records import BadRow, Record, preview

__all__ = ["is_batch_request", "with_requests"]

_ANSWERED = ("response", "result")
"""Fields that only the rows of an output file have."""


def is_batch_request(row: dict[str, Any]) -> bool:
    """Whether a row is a request of a batch, and not an answer."""
    body = row.get("body", row.get("params"))
    return "custom_id" in row and isinstance(body, dict) and not any(name in row for name in _ANSWERED)


def with_requests(records: Records, path: Path) -> Records:
    """The rows of a batch's output file, each with its own request in the field ``request``.

    Servers write answers in any order; the request is found by ``custom_id``. Requests without an answer are counted
    and logged.

    Args:
        records: the rows of the output file.
        path: the batch's input file.

    Raises:
        UserError: the input file cannot be read, holds other rows than requests, or one ``custom_id`` twice.
    """
    requests = _read_requests(path)
    left = dict(requests)
    for record in records:
        joined = record if isinstance(record, BadRow) else _join(record, requests, path)
        if isinstance(joined, Record):
            left.pop(joined.value["custom_id"], None)
        yield joined
    if left:
        say(f"{path}: {len(left):,} of {len(requests):,} requests have no response (the first: {next(iter(left))!r})")


def _join(record: Record, requests: dict[str, Any], path: Path) -> Record | BadRow:
    row = record.value
    if not isinstance(row, dict) or "custom_id" not in row:
        return BadRow(record.place, record.number, f"has no field 'custom_id', by which its request in {path} is found")
    if is_batch_request(row):
        return BadRow(record.place, record.number, "is a request of a batch: name the output file, then --requests")
    if not isinstance(row["custom_id"], str) or row["custom_id"] not in requests:
        return BadRow(record.place, record.number, f"has custom_id {preview(row['custom_id'])}, which {path} lacks")
    return Record(record.place, record.number, {**row, "request": requests[row["custom_id"]]})


def _read_requests(path: Path) -> dict[str, Any]:
    requests: dict[str, Any] = {}
    places: dict[str, str] = {}
    for row in _request_rows(path):
        name = row.value["custom_id"]
        if name in requests:
            raise UserError(f"{row.place}: custom_id {name!r} is that of {places[name]} too, so answers fit either.")
        requests[name], places[name] = row.value.get("body", row.value.get("params")), row.place
    if not requests:
        raise UserError(f"--requests {path} holds no rows.")
    return requests


def _request_rows(path: Path) -> Iterator[Record]:
    for row in read_json_lines(path):
        if isinstance(row, BadRow):
            raise UserError(str(row))
        value = row.value
        if not isinstance(value, dict) or not is_batch_request(value) or not isinstance(value["custom_id"], str):
            raise UserError(f"{row.place}: is no request of a batch (custom_id and body): {preview(value)}")
        yield row
