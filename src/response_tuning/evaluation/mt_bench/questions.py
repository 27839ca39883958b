"""MT-Bench's questions and reference answers, and the published requests to the judge."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.mt_bench.mt_bench_config import MtBenchConfig
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow

__all__ = ["TURNS", "Question", "published_requests", "read_questions"]

TURNS = 2
_PUBLISHED_SIZE = 80


@dataclass(frozen=True)
class Question:
    """Two turns of a user, with reference answers where there are some."""

    category: str
    turns: tuple[str, ...]
    references: tuple[str, ...] = ()
    """One for each turn, or none."""


def read_questions(config: MtBenchConfig) -> list[Question]:
    """The questions in the order of their file.

    Raises:
        UserError: a file cannot be fetched or read, or is not one of questions or answers.
    """
    path = config.questions or fetch(ASSETS["mt-bench"], offline=config.offline)
    references: dict[Any, tuple[str, ...]] = {}
    if config.references is not None or config.questions is None:
        answers = config.references or fetch(ASSETS["mt-bench-references"], offline=config.offline)
        references = dict(_reference(place, row) for place, row in _rows(answers))
    questions = [_question(place, row, references) for place, row in _rows(path)]
    if config.questions is None and len(questions) != _PUBLISHED_SIZE:
        raise UserError(f"{path} has {len(questions)} questions, but MT-Bench has {_PUBLISHED_SIZE}. Delete it.")
    return questions


def published_requests(*, offline: bool) -> dict[str, dict[str, str]]:
    """The published requests to a judge by their names, such as ``single-v1``: ``system_prompt``, ``prompt_template``.

    Raises:
        UserError: the file cannot be fetched, or is another.
    """
    path = fetch(ASSETS["mt-bench-judge"], offline=offline)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    requests = {row["name"]: row for row in rows if row.get("type") == "single"}
    missing = {f"single{kind}-v1{turn}" for kind in ("", "-math") for turn in ("", "-multi-turn")} - requests.keys()
    if missing:
        raise UserError(f"{path} has no request {min(missing)}. Delete it, so that it is fetched again.")
    return requests


def _rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    rows: list[tuple[str, dict[str, Any]]] = []
    for record in read_file(path):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        if not isinstance(record.value, dict) or "question_id" not in record.value:
            raise UserError(f"{record.place}: needs a 'question_id'.")
        rows.append((record.place, record.value))
    return rows


def _question(place: str, row: dict[str, Any], references: dict[Any, tuple[str, ...]]) -> Question:
    turns = row.get("turns")
    if not isinstance(turns, list) or len(turns) != TURNS or not all(isinstance(turn, str) for turn in turns):
        raise UserError(f"{place}: needs 'turns', a list of {TURNS} texts.")
    return Question(str(row.get("category", "")), tuple(turns), references.get(row["question_id"], ()))


def _reference(place: str, row: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    try:
        turns = row["choices"][0]["turns"]
    except (KeyError, IndexError, TypeError):
        turns = None
    if not isinstance(turns, list) or len(turns) != TURNS or not all(isinstance(turn, str) for turn in turns):
        raise UserError(f"{place}: needs 'choices', whose first has 'turns', a list of {TURNS} texts.")
    return row["question_id"], tuple(turns)
