"""How far a model's labels of users' feedback agree with people's, for each class."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from response_tuning.evaluation.shared.confusion import confusion
from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["label_table"]


def label_table(labelled: Mapping[str, Sequence[tuple[bool, bool]]], *, unreadable: int = 0) -> Table:
    """Cohen's kappa, precision and recall of each class, with 95% intervals.

    Args:
        labelled: pairs of the model's label and a person's, by the class.
        unreadable: messages on which the model gave no readable label; they are in no pair.
    """
    left_out = f"; {unreadable:,} without a readable label are left out" if unreadable else ""
    table = Table(title="labels beside people's", caption=f"with 95% confidence interval{left_out}")
    table.add_column("")
    for name in labelled:
        table.add_column(name, justify="right")
    counts = [confusion(pairs) for pairs in labelled.values()]
    for name in ("kappa", "precision", "recall"):
        table.add_row(name, *(_written(getattr(each, name)) for each in counts))
    table.add_row("labelled so by people", *(str(each.true_positives + each.false_negatives) for each in counts))
    table.add_row("labelled so by the model", *(str(each.true_positives + each.false_positives) for each in counts))
    table.add_row("messages", *(str(each.n) for each in counts))
    return table


def _written(estimate: Estimate | None) -> str:
    return "not defined" if estimate is None else f"{estimate.value:.2f} ({estimate.low:.2f}-{estimate.high:.2f})"
