"""Single-task sets: models tuned on one narrow task follow instructions of all kinds.

Source: Hewitt et al. 2024, "Instruction Following without Instruction Tuning" (arXiv 2409.14254): mathematics of
primary school, Python, poems, recipes, chess. The instructions are worded here; the paper's sets of poems, recipes and
games are not free, so those three take any file with the fields below.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from response_tuning.data.data_config import SingleTaskConfig
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.records import BadRow, Record, json_type
from response_tuning.example import Row, check_output, example_from, only_good, write_examples
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.options import SingleTask

__all__ = ["TASKS", "Task", "rows_of", "single_task"]

# MBPP's authors keep tasks 601 to 974 for training; the others are few-shot, test and validation tasks.
_MBPP_TRAINING_IDS = range(601, 975)


@dataclass(frozen=True)
class Task:
    """How a row of a file becomes an instruction and a response."""

    fields: tuple[str, ...]
    """The text fields that a row needs."""
    prompt: Callable[[dict[str, Any]], str]
    completion: Callable[[dict[str, Any]], str]
    asset: str | None = None
    """The published file, where there is one."""
    is_wanted: Callable[[dict[str, Any]], bool] = lambda _: True


def _recipe(row: dict[str, Any]) -> str:
    return f"Ingredients:\n{row['ingredients'].strip()}\n\nDirections:\n{row['directions'].strip()}"


def _players(row: dict[str, Any]) -> str:
    return f"Play a game of chess: White has Elo {row['WhiteElo']}, Black {row['BlackElo']}; it ends {row['Result']}."


def _movetext(row: dict[str, Any]) -> str:
    """The moves without clock times and other comments."""
    return re.sub(r"\s*\{[^}]*\}", "", str(row["moves"])).strip()


TASKS: dict[SingleTask, Task] = {
    "gsm8k": Task(
        ("question", "answer"), lambda row: str(row["question"]), lambda row: str(row["answer"]), asset="gsm8k-train"
    ),
    "mbpp": Task(
        ("text", "code"),
        lambda row: str(row["text"]),
        lambda row: "\n".join(str(row["code"]).splitlines()),
        asset="mbpp",
        is_wanted=lambda row: row.get("task_id") in _MBPP_TRAINING_IDS,
    ),
    "poetry": Task(
        ("title", "content"),
        lambda row: f'Write a poem called "{row["title"]}".',
        lambda row: str(row["content"]),
    ),
    "recipes": Task(("title", "ingredients", "directions"), lambda row: f"Recipe for {row['title']}", _recipe),
    "chess": Task(("WhiteElo", "BlackElo", "Result", "moves"), _players, _movetext),
}


def single_task(config: SingleTaskConfig) -> int:
    """Write the examples of one task; returns how many.

    Raises:
        UserError: the file cannot be read, or has rows without the fields of the task.
    """
    check_output(config.output, str(config.file) if config.file else None)
    task = TASKS[config.task]
    if config.file is not None:
        path = config.file
    elif task.asset is not None:
        path = fetch(ASSETS[task.asset], offline=config.offline)
    else:
        raise UserError(f"For {config.task}, name a --file of rows with the fields {', '.join(task.fields)}.")
    examples = only_good(list(rows_of(task, read_file(path))), source=str(path))[: config.first]
    write_examples(config.output, examples)
    return len(examples)


def rows_of(task: Task, records: Iterable[Record | BadRow]) -> Iterator[Row | BadRow]:
    """Make rows of records; those that the task does not want are left out."""
    for record in records:
        if isinstance(record, BadRow):
            yield record
            continue
        try:
            _require_fields(record.value, task.fields)
            if task.is_wanted(record.value):
                fields = {"prompt": task.prompt(record.value), "completion": task.completion(record.value)}
                yield Row(record.place, record.number, example_from(fields))
        except ValueError as error:
            yield BadRow(record.place, record.number, str(error))


def _require_fields(value: object, fields: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"is not a JSON object but {json_type(value)}")
    for field in fields:
        if not isinstance(value.get(field), str):
            raise ValueError(f"has no text in field {field!r} (it has: {', '.join(value) or 'none'}).")
