"""The values that an evaluation saved for each prompt, keyed by content so that those of several runs can be paired."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Prompt", "PromptValues", "Ratio", "prompt_values", "rows_file"]

Prompt = tuple[str, str, str, int]
"""The set it belongs to, its text, its reference, and how often these occurred before."""
Ratio = tuple[float, float]
"""Numerator and denominator; the denominator of a single value is 1."""
PromptValues = dict[Prompt, dict[str, Ratio]]
"""By prompt and metric."""

_ROW_FILES = ("responses.jsonl", "samples.jsonl")


def rows_file(folder: Path) -> Path | None:
    """The file with a row per prompt in an evaluation's folder; None where there is none."""
    return next((folder / name for name in _ROW_FILES if (folder / name).exists()), None)


def prompt_values(rows: Sequence[Mapping[str, Any]]) -> PromptValues:
    """The ``values`` of rows, each with a ``prompt`` or an ``instruction``, and maybe a ``task`` and a reference."""
    seen: Counter[tuple[str, str, str]] = Counter()
    values: PromptValues = {}
    for row in rows:
        text = row["prompt"] if "prompt" in row else row["instruction"]
        place = (row.get("task", ""), text, row.get("completion") or row.get("reference") or "")
        values[*place, seen[place]] = {metric: _ratio(value) for metric, value in row["values"].items()}
        seen[place] += 1
    return values


def _ratio(value: float | Sequence[float]) -> Ratio:
    if isinstance(value, (int, float)):
        return float(value), 1.0
    part, whole = value
    return float(part), float(whole)
