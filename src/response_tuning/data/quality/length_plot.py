"""A histogram of lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from response_tuning.data.quality.findings import QualityReport
from response_tuning.example import Row
from response_tuning.support.errors import UserError
from response_tuning.support.plots import write_figure

__all__ = ["draw_lengths"]

_BINS = 30


def draw_lengths(good: Sequence[Row], report: QualityReport, path: Path) -> None:
    """Draw the lengths of rows: in tokens if they were counted, otherwise of responses in words.

    Raises:
        UserError: there are no good rows.
    """
    from matplotlib.figure import Figure

    counted = report.token_lengths
    lengths = counted.lengths if counted else [len(row.example.completion.split()) for row in good]
    if not lengths:
        raise UserError(f"{report.source} has no good rows, so there are no lengths to draw.")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    # Lengths differ by orders of magnitude, so the bins are logarithmic.
    edges = np.unique(np.geomspace(max(1, min(lengths)), max(lengths) + 1, _BINS).round())
    axes.hist(np.maximum(lengths, 1), bins=edges.tolist() if len(edges) > 1 else 1, color="#3b6ea5")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel(f"tokens in an example ({counted.method}, {counted.model})" if counted else "words in a response")
    axes.set_ylabel("rows")
    axes.set_title(f"{report.source}: {len(lengths):,} rows", fontsize=10)
    if counted and max(lengths) > counted.max_length:
        axes.axvline(counted.max_length, color="#b03a2e", linestyle="--", label=f"max_length {counted.max_length:,}")
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path)
