"""The file of a rating: runs, responses, assignments and votes, in SQLite.

A vote is one transaction, synced to the disk before it is acknowledged, and keyed by its assignment. Sent twice, from
two windows or after a lost connection, it is one vote; the latest counts, and earlier ones are kept in ``history``.

Votes that arrive together share a sync: a slow disk takes 20 ms for each, and raters would wait for one another.
"""

import json
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from response_tuning.people.protocol import Protocol
from response_tuning.people.sample_screens import SampleScreen
from response_tuning.support.errors import UserError

__all__ = ["DATABASE", "Progress", "Screen", "Store", "Vote", "open_store"]

DATABASE = "ratings.sqlite"
"""The file in the folder of a rating."""

_SHOWN = "coalesce(h.state, 'open') IN ('open', 'released')"
"""Of a prompt that raters may see: neither held nor withdrawn."""
_ASSIGNED = (
    "FROM assignments a LEFT JOIN votes v ON v.assignment = a.id LEFT JOIN holds h ON h.prompt = a.prompt "
    "WHERE a.rater = ?"
)


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
    """From showing the screen to the vote, without pauses."""


@dataclass(frozen=True)
class Screen:
    """What a rater is shown: nothing tells which run is which."""

    id: str
    position: int
    prompt: str
    left: str
    right: str | None
    vote: Vote | None
    is_training: bool


@dataclass(frozen=True)
class Progress:
    """How far a rater is."""

    done: int
    total: int
    """Screens that can be seen, with those done."""
    held: int
    """Screens that wait for the administrator."""


class Store:
    """An open rating. Threads share it; each statement holds a lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._sync_lock = threading.RLock(), threading.Lock()
        self._committed = self._synced = 0
        self._log: int | None = None
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(
            "PRAGMA synchronous = NORMAL"
        )  # ``_sync`` does what FULL does, for several votes at once
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA busy_timeout = 10000")

    def close(self) -> None:
        """Close the file."""
        with self._lock, self._sync_lock:
            if self._log is not None:
                os.close(self._log)
                self._log = None
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
            self._committed += 1

    def _sync(self) -> None:
        """Return once every transaction that was committed before is on the disk, in the write-ahead log."""
        with self._lock:
            mine = self._committed
        with self._sync_lock:
            if self._synced >= mine:
                return  # another thread's sync came after my transaction
            if self._log is None:
                self._log = os.open(f"{self.path}-wal", os.O_RDWR)
            with self._lock:
                committed = self._committed
            os.fsync(self._log)
            self._synced = committed

    def fact(self, name: str) -> Any:
        """A fact by name, such as the protocol."""
        ((value,),) = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(value)

    @property
    def protocol(self) -> Protocol:
        """What raters are asked."""
        return Protocol.model_validate(self.fact("protocol"))

    @property
    def settings(self) -> dict[str, Any]:
        """The options that the rating was planned with."""
        settings: dict[str, Any] = self.fact("settings")
        return settings

    @property
    def runs(self) -> list[str]:
        """The names of the runs."""
        return [name for (name,) in self.rows("SELECT name FROM runs ORDER BY run")]

    @property
    def prompts(self) -> dict[int, str]:
        """The prompts by number."""
        return dict(self.rows("SELECT prompt, text FROM prompts ORDER BY prompt"))

    @property
    def responses(self) -> dict[tuple[int, str], str]:
        """Every response, by the number of its prompt and the name of its run."""
        found = self.rows("SELECT r.prompt, u.name, r.text FROM responses r JOIN runs u ON u.run = r.run")
        return {(prompt, run): text for prompt, run, text in found}

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
        """Whether it is the administrator's token, compared in constant time."""
        return secrets.compare_digest(token.encode(), self.admin_token.encode())

    def progress(self, rater: int) -> Progress:
        """How far a rater is; withdrawn prompts do not count."""
        ((total, done, held),) = self.rows(
            f"SELECT count(*) FILTER (WHERE v.assignment IS NOT NULL OR {_SHOWN}), count(v.assignment), "
            f"count(*) FILTER (WHERE v.assignment IS NULL AND h.state = 'held') {_ASSIGNED}",
            rater,
        )
        return Progress(done, total, held)

    def next_position(self, rater: int) -> int | None:
        """The first screen without a vote that can be seen; None if there is none."""
        ((position,),) = self.rows(f"SELECT min(a.position) {_ASSIGNED} AND v.assignment IS NULL AND {_SHOWN}", rater)
        return None if position is None else int(position)

    def position_beside(self, rater: int, position: int, *, step: Literal[-1, 1]) -> int | None:
        """The nearest screen before (-1) or after (1) a position that can be seen; None if there is none."""
        chosen, compared = ("max", "<") if step < 0 else ("min", ">")
        ((found,),) = self.rows(
            f"SELECT {chosen}(a.position) {_ASSIGNED} AND a.position {compared} ? AND {_SHOWN}", rater, position
        )
        return None if found is None else int(found)

    def screen(self, rater: int, position: int) -> Screen | None:
        """A rater's screen; None if there is no such position, or its prompt is held or withdrawn."""
        found = self.rows(
            "SELECT a.id, coalesce(p.text, s.prompt), coalesce(l.text, s.left_text), coalesce(r.text, s.right_text), "
            "coalesce(s.kind = 'training', 0), v.left_level, v.right_level, v.preference, v.flagged, v.comment, "
            "v.seconds FROM assignments a LEFT JOIN prompts p ON p.prompt = a.prompt "
            "LEFT JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
            "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run "
            "LEFT JOIN samples s ON s.sample = a.sample LEFT JOIN holds h ON h.prompt = a.prompt "
            f"LEFT JOIN votes v ON v.assignment = a.id WHERE a.rater = ? AND a.position = ? AND {_SHOWN}",
            rater,
            position,
        )
        if not found:
            return None
        identity, prompt, left, right, is_training, *said = found[0]
        left_level, right_level, preference, flagged, comment, seconds = said
        vote = None
        if flagged is not None:
            vote = Vote(left_level, right_level, preference, bool(flagged), comment, seconds)
        return Screen(identity, position, prompt, left, right, vote, bool(is_training))

    def position_of(self, rater: int, assignment: str) -> int | None:
        """The position of a rater's assignment; None if it is not theirs."""
        found = self.rows("SELECT position FROM assignments WHERE id = ? AND rater = ?", assignment, rater)
        return int(found[0][0]) if found else None

    def sample_of(self, assignment: str) -> SampleScreen | None:
        """The sample screen of an assignment; None if it shows responses of runs."""
        found = self.rows(
            "SELECT s.content FROM assignments a JOIN samples s ON s.sample = a.sample WHERE a.id = ?", assignment
        )
        return SampleScreen.model_validate_json(found[0][0]) if found else None

    def save(self, assignment: str, vote: Vote, *, at: str, hold: bool = False) -> None:
        """Save a vote, durably. An equal one on the same screen changes nothing, another goes to the history.

        Args:
            assignment: The screen.
            vote: What was said.
            at: The time, as ISO 8601.
            hold: Whether a flagged prompt is held from all raters until the administrator has read it.
        """
        self._write(assignment, vote, at=at, hold=hold)
        self._sync()

    def _write(self, assignment: str, vote: Vote, *, at: str, hold: bool) -> None:
        said = (vote.left_level, vote.right_level, vote.preference, int(vote.flagged), vote.comment)
        with self.transaction() as connection:
            former = connection.execute(
                "SELECT left_level, right_level, preference, flagged, comment FROM votes WHERE assignment = ?",
                (assignment,),
            ).fetchone()
            if former == said:
                return
            if former is not None:
                connection.execute("INSERT INTO history SELECT * FROM votes WHERE assignment = ?", (assignment,))
            connection.execute(
                "INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (assignment, *said, vote.seconds, at)
            )
            if hold and vote.flagged:
                connection.execute(
                    "INSERT OR IGNORE INTO holds SELECT prompt, 'held', ? FROM assignments "
                    "WHERE id = ? AND prompt IS NOT NULL",
                    (at, assignment),
                )

    def decide(self, prompt: int, state: Literal["released", "withdrawn"], *, at: str) -> bool:
        """Release a held prompt to the raters, or withdraw it from the rating; False if it was never held."""
        with self.transaction() as connection:
            changed = connection.execute(
                "UPDATE holds SET state = ?, at = ? WHERE prompt = ?", (state, at, prompt)
            ).rowcount
        self._sync()
        return changed > 0


def open_store(folder: Path) -> Store:
    """Open the rating in a folder.

    Raises:
        UserError: there is none.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise UserError(
            f"{folder} holds no rating: there is no {DATABASE}. Start one with: rt rate RUN RUN --prompts FILE"
        )
    try:
        store = Store(path)
        store.protocol  # noqa: B018 - it is read to find out whether the file is a rating
    except (sqlite3.DatabaseError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is not a rating of this program, or is damaged: {reason}") from error
    return store
