"""The administrator's page: progress, results so far, what raters flagged, and what waits to be read."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from response_tuning.people.report.files import rating_page_values
from response_tuning.people.report.summary import rating_summary
from response_tuning.people.store import Store

__all__ = ["admin_page", "decide"]


def admin_page(store: Store) -> dict[str, Any]:
    """What the template of the page needs."""
    summary = rating_summary(store, with_proxies=False)
    return {
        **rating_page_values(summary),
        "progress": [store.progress(rater) for rater in range(len(store.rater_tokens))],
        "held": _held(store),
        "flagged": _flagged(store),
        "comments": _comments(store),
    }


def _held(store: Store) -> list[dict[str, Any]]:
    """Prompts that were held, with every response, those that wait first."""
    prompts, responses, runs = store.prompts, store.responses, store.runs
    found = store.rows("SELECT prompt, state FROM holds ORDER BY state <> 'held', prompt")
    return [
        {
            "number": prompt,
            "state": state,
            "prompt": prompts[prompt],
            "responses": [(run, responses[prompt, run]) for run in runs],
        }
        for prompt, state in found
    ]


def _said(store: Store, where: str) -> list[dict[str, Any]]:
    prompts, responses, runs = store.prompts, store.responses, store.runs
    found = store.rows(
        "SELECT a.prompt, a.rater, a.left_run, a.right_run, v.comment FROM votes v "
        f"JOIN assignments a ON a.id = v.assignment WHERE a.prompt IS NOT NULL AND {where} ORDER BY v.at"
    )
    return [
        {
            "prompt": prompts[prompt],
            "rater": rater + 1,
            "comment": comment,
            "responses": [(runs[run], responses[prompt, runs[run]]) for run in (left, right) if run is not None],
        }
        for prompt, rater, left, right, comment in found
    ]


def _flagged(store: Store) -> list[dict[str, Any]]:
    return _said(store, "v.flagged")


def _comments(store: Store) -> list[dict[str, Any]]:
    return _said(store, "v.comment <> '' AND NOT v.flagged")


def decide(store: Store, body: bytes) -> bool:
    """Do what the form on the page says: release or withdraw a held prompt; False if it says something else."""
    said = {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    prompt, state = said.get("prompt", ""), said.get("state")
    if not (prompt.isascii() and prompt.isdecimal()):
        return False
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    if state == "released":
        return store.decide(int(prompt), "released", at=at)
    return state == "withdrawn" and store.decide(int(prompt), "withdrawn", at=at)
