"""The registry of figures. To add one, write a function (``contract.py``) and list it here."""

from response_tuning.study.reporting.figures.contract import FigureKind
from response_tuning.study.reporting.figures.curves import axis_curves
from response_tuning.study.reporting.figures.dots import differences, means
from response_tuning.study.reporting.figures.trainings import seeds, training_curves
from response_tuning.support.plugins import offered

__all__ = ["ENTRY_POINTS", "figure_kinds"]

ENTRY_POINTS = "response_tuning.study_figures"
"""The group of entry points whose values are a ``FigureKind``."""


def figure_kinds() -> list[FigureKind]:
    """Every kind of figure, in the order of the report; those of installed packages last."""
    return [
        FigureKind("means", means),
        FigureKind("differences", differences),
        FigureKind("curves", axis_curves),
        FigureKind("seeds", seeds),
        FigureKind("training", training_curves),
        *offered(ENTRY_POINTS).values(),
    ]
