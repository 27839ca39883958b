"""The file of a rating: runs, responses, assignments and votes, in SQLite.

A vote is one transaction, synced to the disk before it is acknowledged, and keyed by its assignment: sent twice, from two
windows or after a lost connection, it is one vote, and the last one counts. Earlier versions of a vote stay in
``history``.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.people.plan import Assignment
from response_tuning.people.protocol import Protocol
from response_tuning.support.errors import UserError

__all__ = ["DATABASE", "Screen", "Store", "Vote", "create_store", "open_store"]

DATABASE = "ratings.sqlite"
"""The file in the folder of a rating."""
_TOKEN_BYTES = 18

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE runs (run INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE prompts (prompt INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE responses (prompt INTEGER, run INTEGER, text TEXT NOT NULL, PRIMARY KEY (prompt, run));
CREATE TABLE raters (rater INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE);
CREATE TABLE assignments (
    id TEXT PRIMARY KEY, rater INTEGER NOT NULL, position INTEGER NOT NULL, prompt INTEGER NOT NULL,
    left_run INTEGER NOT NULL, right_run INTEGER, UNIQUE (rater, position));
CREATE TABLE votes (
    assignment TEXT PRIMARY KEY REFERENCES assignments (id), left_level INTEGER, right_level INTEGER,
    preference INTEGER, flagged INTEGER NOT NULL, comment TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL);
CREATE TABLE history AS SELECT * FROM votes WHERE 0;
"""


@dataclass(frozen=True)
class Vote:
    """What a rater said on a screen."""

    left_level: int | None
    """The place of the level in the protocol; None of a screen that was flagged and not rated."""
    right_level: int | None
    preference: int | None
    """The place of the choice in the protocol."""
    flagged: bool = False
    comment: str = ""
    seconds: float = 0.0
    """From showing the screen to the vote."""


@dataclass(frozen=True)
class Screen:
    """What a rater is shown: nothing tells which run is which."""

    id: str
    position: int
    prompt: str
    left: str
    right: str | None
    vote: Vote | None


class Store:
    """An open rating. Threads share it; each statement holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def fact(self, name: str) -> Any:
        """A fact by name, such as the protocol."""
        ((value,),) = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(value)

    @property
    def protocol(self) -> Protocol:
        """What raters are asked."""
        return Protocol.model_validate(self.fact("protocol"))

    @property
    def runs(self) -> list[str]:
        """The names of the runs."""
        return [name for (name,) in self.rows("SELECT name FROM runs ORDER BY run")]

    @property
    def rater_tokens(self) -> list[str]:
        """The token in each rater's link."""
        return [token for (token,) in self.rows("SELECT token FROM raters ORDER BY rater")]

    @property
    def admin_token(self) -> str:
        """The token in the administrator's link."""
        token: str = self.fact("admin_token")
        return token

    def rater_of(self, token: str) -> int | None:
        """The rater with that token. Every token is compared, each in constant time."""
        found = None
        for rater, other in self.rows("SELECT rater, token FROM raters"):
            if secrets.compare_digest(token.encode(), other.encode()):
                found = rater
        return found

    def is_admin(self, token: str) -> bool:
        """Whether it is the administrator's token."""
        return secrets.compare_digest(token.encode(), self.admin_token.encode())

    def progress(self, rater: int) -> tuple[int, int]:
        """How many of the rater's screens are voted on, and how many there are."""
        ((total, done),) = self.rows(
            "SELECT count(*), count(v.assignment) FROM assignments a LEFT JOIN votes v ON v.assignment = a.id "
            "WHERE a.rater = ?",
            rater,
        )
        return done, total

    def next_position(self, rater: int) -> int | None:
        """The first screen without a vote; None if there is none."""
        ((position,),) = self.rows(
            "SELECT min(a.position) FROM assignments a LEFT JOIN votes v ON v.assignment = a.id "
            "WHERE a.rater = ? AND v.assignment IS NULL",
            rater,
        )
        return None if position is None else int(position)

    def screen(self, rater: int, position: int) -> Screen | None:
        """A rater's screen; None if there is no such position."""
        found = self.rows(
            "SELECT a.id, p.text, l.text, r.text, v.left_level, v.right_level, v.preference, v.flagged, v.comment, "
            "v.seconds FROM assignments a JOIN prompts p ON p.prompt = a.prompt "
            "JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
            "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run "
            "LEFT JOIN votes v ON v.assignment = a.id WHERE a.rater = ? AND a.position = ?",
            rater,
            position,
        )
        if not found:
            return None
        identity, prompt, left, right, *said = found[0]
        left_level, right_level, preference, flagged, comment, seconds = said
        vote = None
        if flagged is not None:
            vote = Vote(left_level, right_level, preference, bool(flagged), comment, seconds)
        return Screen(identity, position, prompt, left, right, vote)

    def shows_two(self, rater: int, assignment: str) -> bool | None:
        """Whether the rater's screen shows two responses; None if it is not theirs."""
        found = self.rows("SELECT right_run IS NOT NULL FROM assignments WHERE id = ? AND rater = ?", assignment, rater)
        return bool(found[0][0]) if found else None

    def save(self, assignment: str, vote: Vote, *, at: str) -> None:
        """Save a vote, durably; a former one on the same screen goes to the history."""
        values = (
            *(vote.left_level, vote.right_level, vote.preference, int(vote.flagged)),
            *(vote.comment, vote.seconds, at),
        )
        with self.transaction() as connection:
            connection.execute("INSERT INTO history SELECT * FROM votes WHERE assignment = ?", (assignment,))
            connection.execute("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (assignment, *values))


def create_store(
    path: Path,
    *,
    protocol: Protocol,
    runs: Sequence[str],
    prompts: Sequence[str],
    responses: Sequence[Sequence[str]],
    assignments: Sequence[Assignment],
    raters: int,
    settings: dict[str, Any],
) -> Store:
    """Write the plan of a rating into a new file, under its name only when it is whole."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(temporary)) as connection:
        connection.executescript(_TABLES)
        facts = {"protocol": protocol.model_dump(), "settings": settings, "admin_token": _token()}
        connection.executemany("INSERT INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])
        connection.executemany("INSERT INTO runs VALUES (?, ?)", enumerate(runs))
        connection.executemany("INSERT INTO prompts VALUES (?, ?)", enumerate(prompts))
        texts = [(prompt, run, text) for prompt, of in enumerate(responses) for run, text in enumerate(of)]
        connection.executemany("INSERT INTO responses VALUES (?, ?, ?)", texts)
        connection.executemany("INSERT INTO raters VALUES (?, ?)", [(rater, _token()) for rater in range(raters)])
        connection.executemany(
            "INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?)",
            [(_token(), each.rater, each.position, each.prompt, each.left, each.right) for each in assignments],
        )
        connection.commit()
    temporary.chmod(0o600)  # it holds the tokens
    temporary.replace(path)
    return Store(path)


def open_store(folder: Path) -> Store:
    """Open the rating in a folder.

    Raises:
        UserError: there is none.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise UserError(
            f"{folder} holds no rating: there is no {DATABASE}. Start one by rt rate RUN RUN --prompts FILE."
        )
    try:
        store = Store(path)
        store.fact("protocol")
    except (sqlite3.DatabaseError, ValueError) as error:
        raise UserError(f"{path} is not a rating of this program: {error}") from error
    return store


def _token() -> str:
    return secrets.token_urlsafe(_TOKEN_BYTES)
