"""The votes of a rating in other formats."""

import json
from pathlib import Path
from typing import Any

from response_tuning.people.judgements import judgements_of
from response_tuning.people.store import Store
from response_tuning.support.files import write_json_lines, write_text

__all__ = ["export_rating"]


def export_rating(store: Store, output: Path, to: str) -> int:
    """Write the votes; returns how many rows.

    votes: one a line, with the names of runs, levels and choices.
    alpaca-eval: a list of annotations with ``preference`` from 1 (first run) to 2 (second), as alpaca_eval has them.
    pairs: ``prompt``, ``completion`` and ``rejected`` where most raters of a pair prefer one side.
    """
    rows = {"votes": _votes, "alpaca-eval": _annotations, "pairs": _pairs}[to](store)
    if to == "alpaca-eval":
        write_text(output, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    else:
        write_json_lines(output, rows)
    return len(rows)


def _votes(store: Store) -> list[dict[str, Any]]:
    protocol, runs = store.protocol, store.runs
    found = store.rows(
        "SELECT p.text, a.rater, a.left_run, a.right_run, l.text, r.text, v.left_level, v.right_level, v.preference, "
        "v.flagged, v.comment, v.seconds, v.at FROM votes v JOIN assignments a ON a.id = v.assignment "
        "JOIN prompts p ON p.prompt = a.prompt JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
        "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run ORDER BY a.rater, a.position"
    )

    def level(place: int | None) -> str | None:
        return None if place is None else protocol.levels[place].name

    return [
        {
            "prompt": prompt,
            "rater": rater + 1,
            "left_run": runs[left],
            "right_run": None if right is None else runs[right],
            "left_response": left_text,
            "right_response": right_text,
            "left_level": level(left_level),
            "right_level": level(right_level),
            "preference": None if choice is None else protocol.preference[choice].name,
            "flagged": bool(flagged),
            "comment": comment,
            "seconds": seconds,
            "at": at,
        }
        for (
            *(prompt, rater, left, right, left_text, right_text),
            *(left_level, right_level, choice, flagged, comment, seconds, at),
        ) in found
    ]


def _compared(store: Store) -> list[tuple[int, str, str, float]]:
    """Of each vote with a preference the prompt, the runs in their order, and what the first of them wins."""
    runs = store.runs
    votes = []
    for each in judgements_of(store):
        if each.left_wins is not None:
            first, second = sorted(each.runs, key=runs.index)
            votes.append((int(each.prompt), first, second, each.wins(first)))
    return votes


def _texts(store: Store) -> tuple[dict[int, str], dict[tuple[int, str], str]]:
    runs = store.runs
    prompts = dict(store.rows("SELECT prompt, text FROM prompts"))
    found = store.rows("SELECT prompt, run, text FROM responses")
    return prompts, {(prompt, runs[run]): text for prompt, run, text in found}


def _annotations(store: Store) -> list[dict[str, Any]]:
    prompts, responses = _texts(store)
    return [
        {
            "instruction": prompts[prompt],
            "output_1": responses[prompt, first],
            "generator_1": first,
            "output_2": responses[prompt, second],
            "generator_2": second,
            "annotator": "people",
            "preference": 2 - wins,
        }
        for prompt, first, second, wins in _compared(store)
    ]


def _pairs(store: Store) -> list[dict[str, Any]]:
    prompts, responses = _texts(store)
    won: dict[tuple[int, str, str], list[float]] = {}
    for prompt, first, second, wins in _compared(store):
        won.setdefault((prompt, first, second), []).append(wins)
    rows = []
    for (prompt, first, second), votes in won.items():
        mean = sum(votes) / len(votes)
        if mean != 0.5:
            better, worse = (first, second) if mean > 0.5 else (second, first)
            rows.append(
                {
                    "prompt": prompts[prompt],
                    "completion": responses[prompt, better],
                    "rejected": responses[prompt, worse],
                    "votes": len(votes),
                }
            )
    return rows
