"""A chart of the probe's rates over training steps."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.evaluation.probe.ranking import RANKINGS
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.support.files import staged_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_checkpoints"]


def draw_checkpoints(points: Mapping[int, Mapping[str, Estimate]], path: Path, *, title: str) -> None:
    """Draw each metric over the steps, in percent with its 95% interval: responses on the left, rankings on the right.

    Args:
        points: estimates by step.
        path: where the chart is written; its suffix is the image format.
        title: the title.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), layout="constrained")
    responses, rankings = figure.subplots(1, 2, sharey=True)
    metrics = next(iter(points.values()))
    for axes, names in (
        (responses, [name for name in metrics if name not in RANKINGS]),
        (rankings, [name for name in metrics if name in RANKINGS]),
    ):
        for name in names:
            _draw_metric(axes, {step: estimates[name] for step, estimates in points.items()}, name)
        axes.set_xlabel("optimizer steps")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(-2, 102)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    responses.set_ylabel("percent")
    responses.set_title("of responses", fontsize=10)
    rankings.set_title("of comparisons, won by the paired response", fontsize=10)
    figure.suptitle(title, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150)
    with staged_file(path) as file:
        file.write(drawn.getvalue())


def _draw_metric(axes: "Axes", estimates: Mapping[int, Estimate], name: str) -> None:
    steps = list(estimates)
    values, low, high = (
        [100 * getattr(estimate, bound) for estimate in estimates.values()] for bound in ("value", "low", "high")
    )
    (line,) = axes.plot(steps, values, marker="o", markersize=3, label=name)
    axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
