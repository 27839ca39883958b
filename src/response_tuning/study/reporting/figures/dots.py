"""Dot plots: every arm's mean with its interval and the papers' values, and its difference from the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from response_tuning.study.planning.collected import slug
from response_tuning.study.reporting.contrasts import Contrast, Value
from response_tuning.study.reporting.figures.contract import Drawn, StudyResults
from response_tuning.study.reporting.figures.style import QUIET, interval, label, look_of, new_figure, tidy
from response_tuning.study.reporting.published import published_with
from response_tuning.study.reporting.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["differences", "means", "shown_metrics"]

_MOST_ARMS = 30
_MOST_METRICS = 9
_COLUMNS = 3
_WIDTH = 9.0
_ROW_HEIGHT = 0.26
_MARGIN = 0.75


def means(study: StudyResults) -> Iterator[Drawn]:
    """One figure per evaluation: a panel per metric, a row per arm, published values as open marks."""
    for of in study.results:
        metrics = shown_metrics(of, study)
        values = {(value.metric, value.arm.name): value for value in study.values if value.evaluation == of.label}
        if not metrics or not 0 < len(of.arms) <= _MOST_ARMS:
            continue
        yield Drawn(slug("means", of.label), _caption(of), _means(of, metrics, values))


def shown_metrics(of: Results, study: StudyResults) -> list[str]:
    """The metrics that are drawn: those that are tested first."""
    tested = study.plan.report.metrics.get(of.label, [])
    ordered = [*(metric for metric in tested if metric in of.metrics), *of.metrics]
    return list(dict.fromkeys(ordered))[:_MOST_METRICS]


def _caption(of: Results) -> str:
    papers = any(published_with(of.evaluation, metric, arm.axes) for metric in of.metrics for arm in of.arms)
    beside = " Open diamonds: values published for the same method." if papers else ""
    return f"{of.label}: means with 95% confidence intervals over prompts and seeds.{beside}"


def _means(of: Results, metrics: Sequence[str], values: Mapping[tuple[str, str], Value]) -> "Figure":
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    height = rows * (_MARGIN + _ROW_HEIGHT * len(of.arms))
    figure, panels = new_figure(_WIDTH, height, rows, columns, sharey=True)
    looks = look_of(of.arms)
    for axes, metric in zip(panels, metrics, strict=False):
        axes.set_title(metric, loc="left")
        for place, arm in enumerate(of.arms):
            value = values.get((metric, arm.name))
            if value is not None:
                estimate = value.estimate
                interval(axes, place, estimate.value, estimate.low, estimate.high, looks[arm.name])
            papers = [one.value for one in published_with(of.evaluation, metric, arm.axes)]
            if papers:
                axes.plot(papers, [place + 0.28] * len(papers), "d", color=QUIET, markerfacecolor="none", markersize=4)
        axes.set_yticks(range(len(of.arms)), [label(arm.name) for arm in of.arms])
        axes.set_ylim(len(of.arms) - 0.4, -0.6)
        tidy(axes)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    return figure


def differences(study: StudyResults) -> Iterator[Drawn]:
    """One figure per evaluation: the tested differences with their intervals, filled where they differ from zero."""
    for of in study.results:
        tested = [one for one in study.contrasts if one.evaluation == of.label and one.adjusted_p is not None]
        pairs = list(dict.fromkeys((one.arm.name, one.baseline.name) for one in tested))
        metrics = [metric for metric in shown_metrics(of, study) if any(one.metric == metric for one in tested)]
        if metrics and 0 < len(pairs) <= _MOST_ARMS:
            caption = (
                f"{of.label}: differences from the baseline, paired by prompt and seed, with 95% confidence intervals. "
                "Filled marks differ from zero after Holm's correction; grey bars reach to the minimal detectable "
                "difference."
            )
            yield Drawn(slug("differences", of.label), caption, _differences(of, metrics, tested, pairs))


def _differences(
    of: Results, metrics: Sequence[str], tested: Sequence[Contrast], pairs: Sequence[tuple[str, str]]
) -> "Figure":
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, panels = new_figure(_WIDTH, rows * (_MARGIN + _ROW_HEIGHT * len(pairs)), rows, columns, sharey=True)
    looks = look_of(of.arms)
    for axes, metric in zip(panels, metrics, strict=False):
        axes.set_title(metric, loc="left")
        axes.axvline(0, color=QUIET, linewidth=1)
        for one in tested:
            if one.metric == metric:
                place = pairs.index((one.arm.name, one.baseline.name))
                reach = min(one.detectable, 10.0)
                axes.plot([-reach, reach], [place + 0.3] * 2, color=QUIET, linewidth=1, alpha=0.6)
                estimate = one.estimate
                look = looks[one.arm.name]
                interval(axes, place, estimate.value, estimate.low, estimate.high, look, filled=one.differs)
        axes.set_yticks(range(len(pairs)), [label(f"{arm} − {baseline}") for arm, baseline in pairs])  # noqa: RUF001
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        tidy(axes)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    return figure
