"""Small ratings for the tests: texts that tell which run wrote them, and votes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from response_tuning.people.create_store import create_store
from response_tuning.people.judgements import Judgement
from response_tuning.people.plan import plan_assignments
from response_tuning.people.protocol import PROTOCOLS, Protocol
from response_tuning.people.store import DATABASE, Store, Vote

__all__ = ["RUNS", "judgement", "make_rating", "vote_all"]

RUNS = ("runs/secret-alpha", "runs/secret-beta")
GOOD = Vote(0, 2, 0, seconds=3.0)
"""The left response is excellent, the right one not acceptable, and the left is preferred."""


def make_rating(
    folder: Path,
    *,
    prompts: int = 4,
    runs: Sequence[str] = RUNS,
    raters: int = 2,
    protocol: Protocol = PROTOCOLS["an-kim"],
    responses: Sequence[Sequence[str]] | None = None,
    training: int = 0,
    checks: int = 0,
    held: Sequence[int] = (),
    overlap: float = 1.0,
    **settings: Any,
) -> Store:
    """A rating whose responses are "response PROMPT of letter RUN"."""
    texts = responses or [[f"response {p} of letter {'xyzuv'[r]}" for r in range(len(runs))] for p in range(prompts)]
    return create_store(
        folder / DATABASE,
        protocol=protocol,
        runs=runs,
        prompts=[f"prompt {number}" for number in range(len(texts))],
        responses=texts,
        assignments=plan_assignments(
            texts,
            raters=raters,
            overlap=overlap,
            pairs=bool(protocol.preference),
            seed=0,
            training=training,
            checks=checks,
        ),
        raters=raters,
        training=protocol.training[:training],
        checks=protocol.attention_checks[:checks],
        held=held,
        settings=settings,
    )


def vote_all(store: Store, vote: Vote = GOOD) -> int:
    """The same vote on every screen of every rater; returns how many."""
    found = store.rows("SELECT id FROM assignments ORDER BY rater, position")
    for (assignment,) in found:
        store.save(assignment, vote, at="2026-01-01T00:00:00.000+00:00")
    return len(found)


def judgement(prompt: object, rater: str, runs: tuple[str, str], wins: float, *, acceptable: str = "yy") -> Judgement:
    """A judgement on a pair, whose acceptability is written as "yn"."""
    says = tuple(letter == "y" for letter in acceptable)
    return Judgement(str(prompt), rater, runs, says, tuple(0 if yes else 2 for yes in says), wins)
