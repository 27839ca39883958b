"""What a study's report shows, whatever it is written as."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.study.planning.plan import StudyPlan
from response_tuning.study.reporting.contrasts import Contrast
from response_tuning.study.reporting.examples import ShownPrompt
from response_tuning.study.reporting.results import Results

__all__ = ["Report", "ShownFigure"]


@dataclass(frozen=True)
class ShownFigure:
    """A figure of the report."""

    name: str
    caption: str
    svg: str
    """Inline, in the colours of the page."""


@dataclass(frozen=True)
class Report:
    """Everything that the page and the Markdown show."""

    plan: StudyPlan
    findings: list[str]
    coverage: str
    results: Sequence[Results]
    values: Mapping[tuple[str, str, str], Estimate]
    """By evaluation, arm and metric."""
    contrasts: Sequence[Contrast]
    figures: Sequence[ShownFigure]
    published: Sequence[Mapping[str, object]]
    examples: Sequence[ShownPrompt]
    tables: Sequence[str]
