"""Lengths as a histogram."""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from response_tuning.data.quality.findings import QualityReport
from response_tuning.example import Row
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_plot", "draw_lengths", "write_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")
_BINS = 30


def check_plot(path: Path) -> None:
    """See to it that a plot can be drawn, before any long work.

    Raises:
        UserError: the drawing library is not installed, or ``path`` has another suffix than .png, .svg or .pdf.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--plot {path} should end in .png, .svg or .pdf.")
    if find_spec("matplotlib") is None:
        raise UserError("--plot needs one more package: pip install 'response-tuning[plot]'.")


def draw_lengths(good: Sequence[Row], report: QualityReport, path: Path) -> None:
    """Draw the lengths of rows: in tokens where they were counted, otherwise of responses in words.

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
    # Lengths differ by orders of magnitude, so the bins grow with them.
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


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format that the suffix of ``path`` names, atomically."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:].lower(), dpi=150)
    with staged_file(path) as file:
        file.write(drawn.getvalue())
