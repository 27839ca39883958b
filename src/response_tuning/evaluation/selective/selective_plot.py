"""A plot of quality against coverage."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from response_tuning.evaluation.selective.risk_coverage import Abstention
from response_tuning.evaluation.selective.selective_result import SelectiveResult
from response_tuning.support.plots import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curves"]

_COLOURS = {
    "likelihood": "#3b6ea5",
    "self": "#b03a2e",
    "variation": "#8a6d3b",
    "trained": "#6a4c93",
    "judge": "#4f7f52",
}


def draw_curves(model: str, result: SelectiveResult, path: Path) -> None:
    """Draw the curve of each confidence beside the oracle's and chance, and the result of each chosen threshold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, selection in result.selections.items():
        curve = selection.risk_coverage.curve
        axes.plot(
            [point.coverage for point in curve],
            [point.quality for point in curve],
            color=_COLOURS[name],
            # Few points are ratings that many responses share: no threshold lies between them.
            marker="o" if len(curve) <= 5 else "",
            markersize=4,
            label=f"{name}: AURC {selection.risk_coverage.aurc.value:.3f}",
        )
        _draw_threshold(axes, selection.abstention, _COLOURS[name])
    _draw_bounds(axes, [row["values"]["quality"] for row in result.rows if "quality" in row["values"]])
    for selection in list(result.selections.values())[:1]:
        wanted = selection.abstention.wanted_quality
        axes.axhline(wanted, color="#999999", linewidth=0.8, linestyle=(0, (1, 3)), label=f"wanted: {wanted:g}")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="coverage: fraction of responses shown")
    axes.set_ylabel(f"quality: fraction of those that are good ({result.decided_by})")
    axes.set_title(f"{model}: {len(result.rows):,} responses", fontsize=10)
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)


def _draw_threshold(axes: "Axes", chosen: Abstention, colour: str) -> None:
    """Coverage and quality with their intervals, on the half that the threshold was not chosen on."""
    quality, coverage = chosen.quality, chosen.coverage
    if quality is None:
        return
    axes.errorbar(
        [coverage.value],
        [quality.value],
        xerr=[[coverage.value - coverage.low], [coverage.high - coverage.value]],
        yerr=[[quality.value - quality.low], [quality.high - quality.value]],
        color=colour,
        marker="s",
        markersize=5,
        capsize=3,
        linewidth=1,
        label=f"threshold {chosen.threshold:.2f}, on the other half",
    )


def _draw_bounds(axes: "Axes", qualities: list[float]) -> None:
    if not qualities:
        return
    counts = np.arange(1, len(qualities) + 1)
    best = np.sort(np.asarray(qualities))[::-1].cumsum() / counts
    axes.plot(counts / len(qualities), best, color="#666666", linestyle="--", linewidth=1, label="oracle")
    axes.axhline(float(np.mean(qualities)), color="#666666", linestyle=":", linewidth=1, label="chance")
