"""Write a new rating: its tables, with the whole plan, under the file's name only once they are complete."""

import json
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from response_tuning.people.plan import Assignment
from response_tuning.people.protocol import Protocol
from response_tuning.people.sample_screens import SampleScreen
from response_tuning.people.store import Store
from response_tuning.support.files import make_folder

__all__ = ["create_store"]

_TOKEN_BYTES = 18
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (run INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE prompts (prompt INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE responses (prompt INTEGER, run INTEGER, text TEXT NOT NULL, PRIMARY KEY (prompt, run));
CREATE TABLE samples (
    sample INTEGER PRIMARY KEY, kind TEXT NOT NULL, prompt TEXT NOT NULL, left_text TEXT NOT NULL, right_text TEXT,
    content TEXT NOT NULL);
CREATE TABLE raters (rater INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE assignments (
    id TEXT PRIMARY KEY, rater INTEGER NOT NULL, position INTEGER NOT NULL, prompt INTEGER, left_run INTEGER,
    right_run INTEGER, sample INTEGER, UNIQUE (rater, position), CHECK ((prompt IS NULL) <> (sample IS NULL)));
CREATE TABLE votes (
    assignment TEXT PRIMARY KEY REFERENCES assignments (id), left_level INTEGER, right_level INTEGER,
    preference INTEGER, flagged INTEGER NOT NULL, comment TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL);
CREATE TABLE history AS SELECT * FROM votes WHERE 0;
CREATE TABLE holds (prompt INTEGER PRIMARY KEY, state TEXT NOT NULL, at TEXT NOT NULL);
"""


def create_store(
    path: Path,
    *,
    protocol: Protocol,
    runs: Sequence[str],
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    assignments: Sequence[Assignment],
    raters: int,
    training: Sequence[SampleScreen] = (),
    checks: Sequence[SampleScreen] = (),
    held: Collection[int] = (),
    settings: dict[str, Any],
) -> Store:
    """Write the plan of a rating into a new file, and open it.

    Args:
        path: The file.
        protocol: What raters are asked.
        runs: Their names.
        prompts: Their texts.
        responses: [prompts][runs] texts.
        assignments: Every screen of every rater; their ``sample`` counts ``training`` first, and then ``checks``.
        raters: How many there are.
        training: Screens of the training round.
        checks: Attention checks.
        held: Prompts that the administrator has to release first.
        settings: The options that the rating was planned with.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)  # it holds the tokens
    samples = [*(("training", sample) for sample in training), *(("check", sample) for sample in checks)]
    with closing(sqlite3.connect(temporary)) as connection:
        connection.executescript(_TABLES)
        facts = {"protocol": protocol.model_dump(), "settings": settings, "admin_token": _token()}
        _insert(connection, "facts", [(name, json.dumps(value)) for name, value in facts.items()])
        _insert(connection, "runs", enumerate(runs))
        _insert(connection, "prompts", enumerate(prompts))
        _insert(connection, "responses", [(p, r, text) for p, of in enumerate(responses) for r, text in enumerate(of)])
        _insert(connection, "samples", [_sample_row(place, *each) for place, each in enumerate(samples)])
        _insert(connection, "raters", [(rater, _token()) for rater in range(raters)])
        _insert(
            connection,
            "assignments",
            [(_token(), a.rater, a.position, a.prompt, a.left, a.right, a.sample) for a in assignments],
        )
        _insert(connection, "holds", [(prompt, "held", "") for prompt in held])
        connection.commit()
    temporary.replace(path)
    return Store(path)


def _insert(connection: sqlite3.Connection, table: str, rows: Any) -> None:
    rows = list(rows)
    if rows:
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _sample_row(place: int, kind: str, sample: SampleScreen) -> tuple[object, ...]:
    return place, kind, sample.prompt, sample.left, sample.right, sample.model_dump_json()


def _token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)
