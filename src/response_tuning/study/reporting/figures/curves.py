"""Curves over an axis with numbers: refusals mixed in, instructions kept, rows, a learning rate, and any other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from response_tuning.study.definition.study_file import is_number
from response_tuning.study.planning.cells import arm_name
from response_tuning.study.planning.collected import slug
from response_tuning.study.reporting.contrasts import Value
from response_tuning.study.reporting.figures.contract import Drawn, StudyResults
from response_tuning.study.reporting.figures.dots import shown_metrics
from response_tuning.study.reporting.figures.style import Look, label, look_of, new_figure, tidy
from response_tuning.study.reporting.published import published_with
from response_tuning.study.reporting.results import Arm, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["axis_curves"]

_COLUMNS = 3
_WIDTH, _HEIGHT = 9.0, 2.7
_MOST_LINES = 12
_NUDGE = 0.06


def axis_curves(study: StudyResults) -> Iterator[Drawn]:
    """One figure per evaluation and numeric axis: a panel per metric, a line per arm otherwise equal."""
    for of in study.results:
        for axis in study.plan.varied:
            places = _places(axis, of)
            lines = _lines(axis, of, study.plan.varied)
            metrics = shown_metrics(of, study)
            if len(places) > 1 and metrics and 0 < len(lines) <= _MOST_LINES:
                caption = (
                    f"{of.label} by {axis}: means with 95% confidence intervals; horizontal lines are arms for which "
                    f"{axis} makes no difference. Open diamonds are published values."
                )
                yield Drawn(slug("curve", axis, of.label), caption, _curves(axis, of, study, metrics, places, lines))


def _places(axis: str, of: Results) -> dict[Any, float]:
    """Where each value of an axis is drawn: evenly, words after the numbers. Empty where there are no two numbers."""
    values = {arm.axes[axis] for arm in of.arms if axis in arm.axes}
    numbers = sorted(value for value in values if is_number(value))
    words = sorted(str(value) for value in values if not is_number(value))
    return {value: float(place) for place, value in enumerate([*numbers, *words])} if len(numbers) > 1 else {}


def _lines(axis: str, of: Results, varied: Sequence[str]) -> dict[str, list[int]]:
    """The arms, by position, of each line: those that are equal but for the axis."""
    others = [name for name in varied if name != axis]
    lines: dict[str, list[int]] = {}
    for position, arm in enumerate(of.arms):
        lines.setdefault(arm_name(arm.axes, others), []).append(position)
    return lines


def _curves(
    axis: str,
    of: Results,
    study: StudyResults,
    metrics: Sequence[str],
    places: Mapping[Any, float],
    lines: Mapping[str, Sequence[int]],
) -> "Figure":
    columns = min(_COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    figure, panels = new_figure(_WIDTH, rows * _HEIGHT + 0.4, rows, columns, sharex=True)
    values = {(value.metric, value.arm.name): value for value in study.values if value.evaluation == of.label}
    looks = look_of([of.arms[positions[0]] for positions in lines.values()])
    for axes, metric in zip(panels, metrics, strict=False):
        axes.set_title(metric, loc="left")
        for number, (name, positions) in enumerate(lines.items()):
            look = looks[of.arms[positions[0]].name]
            _line(
                axes,
                axis,
                places,
                [(of.arms[each], values.get((metric, of.arms[each].name))) for each in positions],
                look,
                name,
                number,
            )
            for each in positions:
                arm = of.arms[each]
                if axis in arm.axes:
                    papers = [one.value for one in published_with(of.evaluation, metric, arm.axes)]
                    spots = [places[arm.axes[axis]]] * len(papers)
                    axes.plot(spots, papers, "d", color=look.colour, markerfacecolor="none", markersize=4)
        axes.set_xticks([*places.values()], [f"{value:g}" if is_number(value) else str(value) for value in places])
        axes.set_xlabel(axis)
        tidy(axes, along="y")
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return figure


def _line(
    axes: "Axes",
    axis: str,
    places: Mapping[Any, float],
    points: Sequence[tuple[Arm, Value | None]],
    look: Look,
    name: str,
    number: int,
) -> None:
    """One line, or a horizontal one for an arm without the axis."""
    drawn: list[tuple[float, Value]] = sorted(
        ((places[arm.axes[axis]], value) for arm, value in points if axis in arm.axes and value is not None),
        key=lambda point: point[0],
    )
    for arm, value in points:
        if axis not in arm.axes and value is not None:
            axes.axhline(value.estimate.value, color=look.colour, linestyle=look.line, linewidth=1.2, label=label(name))
            axes.axhspan(value.estimate.low, value.estimate.high, color=look.colour, alpha=0.08, linewidth=0)
    if drawn:
        spots = [place + _NUDGE * number for place, _ in drawn]
        means = [value.estimate.value for _, value in drawn]
        errors = [
            [value.estimate.value - value.estimate.low for _, value in drawn],
            [value.estimate.high - value.estimate.value for _, value in drawn],
        ]
        axes.errorbar(
            spots,
            means,
            yerr=errors,
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            markersize=5,
            label=label(name),
        )
