"""What a figure of a study's report is: it is drawn where its data are there."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.study.planning.plan import StudyPlan
from response_tuning.study.reporting.contrasts import Contrast, Value
from response_tuning.study.reporting.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Drawn", "FigureKind", "StudyResults"]


@dataclass(frozen=True)
class StudyResults:
    """All that a figure may draw."""

    plan: StudyPlan
    folder: Path
    results: Sequence[Results]
    values: Sequence[Value]
    contrasts: Sequence[Contrast]


@dataclass(frozen=True)
class Drawn:
    """One figure."""

    name: str
    """Of its files, without a suffix."""
    caption: str
    """What it shows, for readers who see it and for those who do not."""
    figure: "Figure"


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure. The smallest one draws nothing::

    FigureKind("nothing", lambda study: [])
    """

    name: str
    draw: Callable[[StudyResults], Iterable[Drawn]]
    """The figures of this kind for a study; none where there is nothing to draw."""
