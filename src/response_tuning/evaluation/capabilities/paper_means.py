"""The numbers that An & Kim 2025 print beside single tasks (Tables 1 and 12): ARC as one group, and the mean of six."""

from collections.abc import Sequence
from typing import Any

from response_tuning.evaluation.shared.mean_of_means import add_mean_of_means
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean

__all__ = ["ARC", "MEAN_OF_SIX", "add_paper_means"]

ARC = "arc"
"""Both ARC sets: the harness's tag ai2_arc."""
MEAN_OF_SIX = "mean of six"
_ARC_SETS = ("arc_easy acc", "arc_challenge acc")
_CHOICES = ("mmlu acc", "openbookqa acc", "hellaswag acc", f"{ARC} acc", "piqa acc")
_GSM8K = ("gsm8k_cot_llama exact_match,strict-match", "gsm8k exact_match,strict-match")
"""The first of those that were run is the sixth."""


def add_paper_means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Add both to the ``values`` of rows, and return them by name and metric; none for which a task is missing.

    A row of ARC counts alike whichever set it is of. In the mean of six, every capability counts alike.
    """
    found: dict[str, dict[str, Estimate]] = {}
    of_arc = {name: [row["values"] for row in rows if name in row["values"]] for name in _ARC_SETS}
    if all(of_arc.values()):
        for name, values_of_rows in of_arc.items():
            for values in values_of_rows:
                values[f"{ARC} acc"] = values[name]
        together = [values[name] for name, values_of_rows in of_arc.items() for values in values_of_rows]
        found[ARC] = {"acc": estimate_mean(together)}
    measured = {name for row in rows for name in row["values"]}
    sixth = next((name for name in _GSM8K if name in measured), _GSM8K[0])
    mean = add_mean_of_means(rows, MEAN_OF_SIX, dict.fromkeys((*_CHOICES, sixth), 1 / 6))
    return found if mean is None else {**found, MEAN_OF_SIX: {MEAN_OF_SIX: mean}}
