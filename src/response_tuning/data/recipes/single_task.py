"""Single-task sets: models tuned on one narrow task follow instructions of all kinds.

Source: Hewitt et al. 2024, "Instruction Following without Instruction Tuning" (arXiv 2409.14254): mathematics of
primary school, Python, poems, recipes, chess. Prompts and responses have the form of the authors' sets: a recipe is its
list of ingredients, a blank line and the steps, without headings; the prompt of a game is the two lines of PGN with the
ratings, which does not tell how it ends. The paper's sets of poems, recipes and games are not freely licensed, so those
three read any file with the fields below.
"""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.readers import read_file
from response_tuning.example import Row, check_output, example_from, only_good
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record, json_type

__all__ = ["TASKS", "SingleTask", "SingleTaskConfig", "SingleTaskSet", "Task", "rows_of"]

SingleTask = Literal["gsm8k", "mbpp", "poetry", "recipes", "chess"]
"""A narrow task whose responses are all of one kind."""

# MBPP's authors keep tasks 601 to 974 for training; the others are few-shot, test and validation tasks.
_MBPP_TRAINING_IDS = range(601, 975)
_ITEM = re.compile(r"[-*\u2022]\s+")


@dataclass(frozen=True)
class Task:
    """How to make an instruction and a response from a row of a file."""

    fields: tuple[str, ...]
    """The text fields that a row needs."""
    prompt: Callable[[dict[str, Any]], str]
    completion: Callable[[dict[str, Any]], str]
    asset: str | None = None
    """The published file; None where there is none."""
    is_wanted: Callable[[dict[str, Any]], bool] = lambda _: True


def _recipe(row: dict[str, Any]) -> str:
    return f"{_ingredients(row['ingredients'])}\n\n{row['directions'].strip()}"


def _ingredients(text: str) -> str:
    """The ingredients as lines of " - item": of a list as Python prints it, of items with marks, or of plain lines."""
    if text.lstrip().startswith("["):
        with suppress(ValueError, SyntaxError):
            text = "\n".join(map(str, ast.literal_eval(text.strip())))
    lines = [line.strip() for line in text.strip().splitlines()]
    has_marks = any(_ITEM.match(line) for line in lines)
    written = [f" - {_ITEM.sub('', line)}" if line and (_ITEM.match(line) or not has_marks) else line for line in lines]
    return "\n".join(written)


def _players(row: dict[str, Any]) -> str:
    """The two ratings as PGN has them."""
    return f'[WhiteElo "{row["WhiteElo"]}"]\n[BlackElo "{row["BlackElo"]}"]'


def _movetext(row: dict[str, Any]) -> str:
    """The moves without clock times and other comments."""
    return re.sub(r"(?<!\s)\s*\{[^{}]*\}", "", str(row["moves"])).strip()


TASKS: dict[SingleTask, Task] = {
    "gsm8k": Task(
        ("question", "answer"), lambda row: str(row["question"]), lambda row: str(row["answer"]), asset="gsm8k-train"
    ),
    "mbpp": Task(
        ("text", "code"),
        lambda row: str(row["text"]),
        lambda row: str(row["code"]).replace("\r\n", "\n").replace("\r", "\n"),
        asset="mbpp",
        is_wanted=lambda row: row.get("task_id") in _MBPP_TRAINING_IDS,
    ),
    "poetry": Task(
        ("title", "content"),
        lambda row: f"Write a poem called {row['title'].strip()}",
        lambda row: str(row["content"]),
    ),
    "recipes": Task(("title", "ingredients", "directions"), lambda row: f"Recipe for {row['title']}", _recipe),
    "chess": Task(("WhiteElo", "BlackElo", "moves"), _players, _movetext),
}


class SingleTaskConfig(BaseModel):
    """Make a training set of one narrow task, to test whether it teaches to follow instructions (Hewitt et al. 2024).

    For example:
        rt data single-task gsm8k --first 1000 --output gsm8k.jsonl
        rt data single-task chess --file games.jsonl --output chess.jsonl
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[SingleTask, tyro.conf.Positional]
    """gsm8k (question, answer), mbpp (text, code), poetry (title, content), recipes (title, ingredients, directions) or
    chess (WhiteElo, BlackElo, moves)."""
    output: Path
    """The JSONL file to write."""
    file: Path | None = None
    """A file of rows with those fields. Defaults to the published file for gsm8k and mbpp, which is fetched."""
    first: int | None = Field(default=None, ge=1)
    """Use only the first rows."""
    offline: bool = False
    """Fetch nothing; if a file is missing, the error says which one and where to put it."""


class SingleTaskSet:
    """``rt data single-task``: the examples of one task."""

    name = "single-task"
    config = SingleTaskConfig

    def make(self, config: SingleTaskConfig) -> Made:
        """Read the rows of the task and word an instruction for each.

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
        return Made(only_good(list(rows_of(task, read_file(path))), source=str(path))[: config.first])


def rows_of(task: Task, records: Iterable[Record | BadRow]) -> Iterator[Row | BadRow]:
    """Make rows from records, and skip the records that the task does not use."""
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
