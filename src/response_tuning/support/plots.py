"""Charts as files (matplotlib): validate the path before any long work, write the figure atomically."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.files import staged_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_plot", "write_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150


def check_plot(path: Path) -> None:
    """Validate the value of ``--plot``.

    Raises:
        UserError: matplotlib is not installed, or ``path`` has a suffix other than .png, .svg and .pdf.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"--plot {path} should end in .png, .svg or .pdf.")
    require_extra("matplotlib", "plot", purpose="--plot")


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure atomically, in the format that the suffix of ``path`` names."""
    drawn, kind = io.BytesIO(), path.suffix[1:].lower()
    # Without a date, the same figure is the same file.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    figure.savefig(drawn, format=kind, dpi=_DOTS_PER_INCH, metadata=undated)
    with staged_file(path) as file:
        file.write(drawn.getvalue())
