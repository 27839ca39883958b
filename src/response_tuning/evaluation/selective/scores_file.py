"""Scores that people, or another program, gave to responses: what a confidence is correlated with."""

import math
from collections.abc import Sequence
from pathlib import Path

from response_tuning.support.errors import UserError
from response_tuning.support.input_files import read_json_lines_file
from response_tuning.support.records import BadRow, Record, preview

__all__ = ["read_scores"]


def read_scores(path: Path, instructions: Sequence[str], responses: Sequence[str]) -> list[float | None]:
    """The score of each response; None of one that the file does not score.

    Args:
        path: a JSONL file of rows with ``prompt``, ``response`` and ``score``, a number on any scale. Several scores of
            one response are averaged.
        instructions: what was asked.
        responses: to each of them.

    Raises:
        UserError: the file cannot be read, a row lacks a field, or it scores none of these responses.
    """
    given: dict[tuple[str, str], list[float]] = {}
    for record in read_json_lines_file(path):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        given.setdefault(_pair(record), []).append(_score(record))
    pairs = [(prompt.strip(), text.strip()) for prompt, text in zip(instructions, responses, strict=True)]
    scores = [sum(given[pair]) / len(given[pair]) if pair in given else None for pair in pairs]
    if all(score is None for score in scores):
        raise UserError(
            f"{path} scores none of these responses. Its rows need the 'prompt' and the 'response' as they are in "
            "responses.jsonl of the results."
        )
    return scores


def _pair(record: Record) -> tuple[str, str]:
    row = record.value if isinstance(record.value, dict) else {}
    prompt, response = row.get("prompt"), row.get("response")
    if not isinstance(prompt, str) or not isinstance(response, str):
        raise UserError(f"{record.place}: a row of --scores needs texts in the fields 'prompt' and 'response'.")
    return prompt.strip(), response.strip()


def _score(record: Record) -> float:
    value = record.value.get("score")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{record.place}: field 'score' is no number but {preview(value)}.")
    return float(value)
