"""What raters said, apart from how it was stored: one judgement for each screen and rater."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.people.store import Store
from response_tuning.support.errors import UserError

__all__ = ["Judgement", "identical_ties", "judgements_of", "read_tulu_annotations"]

_IDENTICAL = "identical"
"""The rater of pairs that nobody had to see."""


@dataclass(frozen=True)
class Judgement:
    """What one rater said about one screen."""

    prompt: str
    """The unit that intervals resample."""
    rater: str
    runs: tuple[str, ...]
    """The run on the left and, of a pair, the one on the right."""
    acceptable: tuple[bool, ...]
    """Of each run; empty where responses were not rated."""
    levels: tuple[int, ...] = ()
    """Of each run, the place of the level in the protocol; empty as above."""
    left_wins: float | None = None
    """1, 0.5 for a tie, or 0; None where nothing was preferred."""
    seconds: float = 0.0
    lengths: tuple[int, ...] = ()
    """Characters of each response."""

    def wins(self, run: str) -> float:
        """What a run of the pair wins."""
        assert self.left_wins is not None
        return self.left_wins if self.runs[0] == run else 1 - self.left_wins


def judgements_of(store: Store) -> list[Judgement]:
    """Every vote of a rating that was not merely flagged, rater by rater in the order of their screens."""
    protocol, runs = store.protocol, store.runs
    found = store.rows(
        "SELECT a.prompt, a.rater, a.left_run, a.right_run, v.left_level, v.right_level, v.preference, v.seconds, "
        "length(l.text), length(r.text) FROM votes v JOIN assignments a ON a.id = v.assignment "
        "JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
        "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run ORDER BY a.rater, a.position"
    )
    judgements = []
    for prompt, rater, left, right, left_level, right_level, preference, seconds, left_length, right_length in found:
        if left_level is None:
            continue
        levels = (left_level,) if right is None else (left_level, right_level)
        judgements.append(
            Judgement(
                prompt=str(prompt),
                rater=f"rater {rater + 1}",
                runs=(runs[left],) if right is None else (runs[left], runs[right]),
                acceptable=tuple(protocol.levels[level].acceptable for level in levels),
                levels=levels,
                left_wins=None if preference is None else protocol.preference[preference].left,
                seconds=seconds,
                lengths=(left_length,) if right is None else (left_length, right_length),
            )
        )
    return judgements


def identical_ties(store: Store) -> list[Judgement]:
    """A tie for each pair of responses with the same text, which no rater is shown."""
    if not store.protocol.preference:
        return []
    runs = store.runs
    found = store.rows(
        "SELECT a.prompt, a.run, b.run, length(a.text) FROM responses a JOIN responses b "
        "ON a.prompt = b.prompt AND a.run < b.run AND trim(a.text) = trim(b.text)"
    )
    return [
        Judgement(str(prompt), _IDENTICAL, (runs[one], runs[other]), (), (), 0.5, 0.0, (length, length))
        for prompt, one, other, length in found
    ]


def read_tulu_annotations(path: Path) -> list[Judgement]:
    """The published labels of Tulu 1 (Wang et al. 2023): a rater's later row on an instance replaces the earlier.

    Raises:
        UserError: the file has other columns.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        return list(_latest([_annotation(row) for row in rows]))
    except KeyError as error:
        raise UserError(f"{path} has no column {error}.") from error


def _latest(judgements: Sequence[Judgement]) -> Iterator[Judgement]:
    """Of several by one rater on the same pair and prompt the last, in the place of the first."""
    yield from {(each.prompt, each.rater, frozenset(each.runs)): each for each in judgements}.values()


def _annotation(row: dict[str, str]) -> Judgement:
    preference = row["preference"]
    return Judgement(
        prompt=row["instance_id"],
        rater=row["rater"],
        runs=(row["model_a"], row["model_b"]),
        acceptable=(row["completion_a_is_acceptable"] == "yes", row["completion_b_is_acceptable"] == "yes"),
        left_wins={"a": 1.0, "b": 0.0}.get(preference[0], 0.5) if preference != "tie" else 0.5,
    )
