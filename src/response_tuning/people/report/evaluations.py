"""What people say about each run as an evaluation of the run, for ``rt compare``."""

from pathlib import Path

from response_tuning.evaluation.shared.results import results_folder, save_metrics, save_responses
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.people.report.summary import RatingSummary
from response_tuning.people.store import Store

__all__ = ["EVALUATION", "save_evaluations"]

EVALUATION = "rating"
"""The name of a rating among the evaluations of a run."""


def save_evaluations(store: Store, summary: RatingSummary) -> list[Path]:
    """Save what people say about each run among its evaluations, for ``rt compare``; returns the folders.

    A row's values are ``acceptable``, the probability that people accept the response, and ``win``, what it wins
    against the other runs, a tie as half. A run that nobody rated, or that is no longer there, has no folder.
    """
    prompts, responses, joined = store.prompts, store.responses, summary.joined
    wins: dict[tuple[str, str], list[float]] = {}
    for (prompt, (first, second)), of in joined.preferences.items():
        wins.setdefault((prompt, first), []).append(float(of[0] + of[1] / 2))
        wins.setdefault((prompt, second), []).append(float(of[2] + of[1] / 2))
    folders = []
    for run, estimate in summary.acceptance.items():
        if Path(run).is_file():
            continue
        rows = []
        for number, prompt in prompts.items():
            accepted, won = joined.acceptable.get((str(number), run)), wins.get((str(number), run))
            if accepted is not None:
                values = {"acceptable": accepted} | ({"win": sum(won) / len(won)} if won else {})
                rows.append({"prompt": prompt, "response": responses[number, run], "values": values})
        folder = results_folder(run, EVALUATION, None)
        settings = {"model": run, "join": summary.join, "protocol": store.protocol.name}
        metrics = {"acceptable": estimate} | ({"win": summary.wins[run]} if run in summary.wins else {})
        save_responses(folder, EVALUATION, model=run, rows=rows)
        backend = {"backend": "people", "fingerprint": model_fingerprint(run)}
        save_metrics(folder, EVALUATION, metrics=metrics, settings=settings, backend=backend)
        folders.append(folder)
    return folders
