"""What raters said, apart from how it was stored: one judgement for each screen and rater."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from response_tuning.people.store import Store
from response_tuning.support.errors import UserError

__all__ = ["Judgement", "first_votes", "identical_ties", "judgements_of", "read_tulu_annotations", "samples_passed"]

_IDENTICAL = "identical"
"""The rater of pairs that nobody had to see."""
_TULU = {"a-is-better": 1.0, "a-is-slightly-better": 1.0, "tie": 0.5, "b-is-slightly-better": 0.0, "b-is-better": 0.0}
_TULU_COLUMNS = (
    *("instance_id", "model_a", "model_b", "completion_a_is_acceptable", "completion_b_is_acceptable"),
    *("preference", "rater"),
)
_SHOWN = "(h.state IS NULL OR h.state <> 'withdrawn')"
_YES = {"yes": True, "no": False}


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
    lengths: dict[str, int] = field(default_factory=dict)
    """Characters of each run's response, where they are known."""

    def wins(self, run: str) -> float:
        """What a run of the pair wins.

        Raises:
            ValueError: nothing was preferred.
        """
        if self.left_wins is None:
            raise ValueError("nothing was preferred on this screen")
        return self.left_wins if self.runs[0] == run else 1 - self.left_wins


def judgements_of(store: Store) -> list[Judgement]:
    """Every vote of a rating on responses of runs, rater by rater in the order of their screens.

    Screens that were flagged and not rated, and prompts that the administrator withdrew, are left out.
    """
    protocol, runs = store.protocol, store.runs
    found = store.rows(
        "SELECT a.prompt, a.rater, a.left_run, a.right_run, v.left_level, v.right_level, v.preference, v.seconds, "
        "length(l.text), length(r.text) FROM votes v JOIN assignments a ON a.id = v.assignment "
        "JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
        "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run "
        f"LEFT JOIN holds h ON h.prompt = a.prompt WHERE {_SHOWN} ORDER BY a.rater, a.position"
    )
    judgements = []
    for prompt, rater, left, right, left_level, right_level, preference, seconds, left_length, right_length in found:
        if left_level is None or (right is not None and right_level is None):
            continue
        levels = (left_level,) if right is None else (left_level, right_level)
        names = (runs[left],) if right is None else (runs[left], runs[right])
        judgements.append(
            Judgement(
                prompt=str(prompt),
                rater=_name(rater),
                runs=names,
                acceptable=tuple(protocol.levels[level].acceptable for level in levels),
                levels=levels,
                left_wins=None if preference is None else protocol.preference[preference].left,
                seconds=seconds,
                lengths=dict(zip(names, (left_length, right_length), strict=False)),
            )
        )
    return judgements


def identical_ties(store: Store) -> list[Judgement]:
    """A tie for each pair of responses with the same text, which no rater is shown."""
    if not store.protocol.preference:
        return []
    runs, ties = store.runs, []
    withdrawn = {prompt for (prompt,) in store.rows("SELECT prompt FROM holds WHERE state = 'withdrawn'")}
    responses = store.responses
    for prompt in store.prompts.keys() - withdrawn:
        for place, one in enumerate(runs):
            for other in runs[place + 1 :]:
                text = responses[prompt, one]
                if text.strip() == responses[prompt, other].strip():
                    lengths = {one: len(text), other: len(text)}
                    ties.append(Judgement(str(prompt), _IDENTICAL, (one, other), (), (), 0.5, 0.0, lengths))
    return ties


def samples_passed(store: Store, kind: str) -> dict[str, tuple[int, int]]:
    """By rater, how many sample screens were answered as known, and how many were answered.

    Args:
        store: The rating.
        kind: "training" or "check".
    """
    protocol = store.protocol
    found = store.rows(
        "SELECT a.rater, a.id, v.left_level, v.right_level, v.preference FROM votes v "
        "JOIN assignments a ON a.id = v.assignment JOIN samples s ON s.sample = a.sample "
        "WHERE s.kind = ? AND v.left_level IS NOT NULL ORDER BY a.rater",
        kind,
    )
    passed: dict[str, tuple[int, int]] = {}
    for rater, assignment, left_level, right_level, preference in found:
        sample = store.sample_of(assignment)
        levels = [level for level in (left_level, right_level) if level is not None]
        says = tuple(protocol.levels[level].acceptable for level in levels)
        wins = None if preference is None else protocol.preference[preference].left
        right, all_of = passed.get(_name(rater), (0, 0))
        is_right = sample is not None and sample.is_answered(says, wins)
        passed[_name(rater)] = (right + is_right, all_of + 1)
    return passed


def _name(rater: int) -> str:
    return f"rater {rater + 1}"


def first_votes(judgements: Iterable[Judgement], count: int = 1) -> list[Judgement]:
    """The first judgements of each pair on each prompt, at most ``count``.

    The published labels of Tulu 1 were counted so: one for acceptance and preference, two for agreement.
    """
    taken: dict[tuple[str, frozenset[str]], list[Judgement]] = {}
    for each in judgements:
        taken.setdefault((each.prompt, frozenset(each.runs)), []).append(each)
    return [each for votes in taken.values() for each in votes[:count]]


def read_tulu_annotations(path: Path) -> list[Judgement]:
    """The published labels of Tulu 1 (Wang et al. 2023): a rater's later row on an instance replaces the earlier.

    Raises:
        UserError: the file has other columns or values; the message names the line.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _TULU_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise UserError(f"{path} has no column {missing[0]!r}. It should have: {', '.join(_TULU_COLUMNS)}.")
        read = [_annotation(row, place=f"{path}:{reader.line_num}") for row in reader]
    return [*{(each.prompt, each.rater, frozenset(each.runs)): each for each in read}.values()]


def _annotation(row: dict[str, str], *, place: str) -> Judgement:
    def value(column: str, known: dict[str, float]) -> float:
        if row[column] not in known:
            raise UserError(f"{place}: {column} is {row[column]!r}, not one of {', '.join(known)}.")
        return known[row[column]]

    acceptable = (f"completion_{side}_is_acceptable" for side in "ab")
    return Judgement(
        prompt=row["instance_id"],
        rater=row["rater"],
        runs=(row["model_a"], row["model_b"]),
        acceptable=tuple(bool(value(column, dict(_YES))) for column in acceptable),
        left_wins=value("preference", _TULU),
    )
