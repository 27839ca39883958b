"""One style for every figure: readable without colour, by marker and line, and on light and dark pages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from response_tuning.study.reporting.results import Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "LINE", "PAGE_COLOURS", "QUIET", "Look", "interval", "label", "look_of", "new_figure", "tidy"]

INK, QUIET, LINE = "#1d2126", "#666e78", "#dfe2e6"
_METHODS = {"base": "#7b838d", "rt": "#c8570b", "it": "#1668b5"}
_OTHERS = ("#00795c", "#8a4fa0", "#a8811a", "#b3416a", "#4f6d1f")
_MARKERS = ("s", "o", "^", "D", "v", "P", "X", "h")
_LINES = ("-", "--", "-.", ":")
PAGE_COLOURS = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    **{colour: f"var(--{method})" for method, colour in _METHODS.items()},
}
"""Colours of figures that are the page's own, which differ in the dark."""

_LABEL_CHARACTERS = 40
_SETTINGS: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "grid.color": LINE,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    # Text stays text, and the same figure is the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "response-tuning",
}


class Look:
    """How the marks of one arm look."""

    def __init__(self, colour: str, marker: str, line: str) -> None:
        self.colour, self.marker, self.line = colour, marker, line


def look_of(arms: Sequence[Arm]) -> Mapping[str, Look]:
    """A look for each arm by its name: the colour and marker of its method, the line of its place among that's arms."""
    methods = list(dict.fromkeys(str(arm.axes.get("method")) for arm in arms))
    order = [*_METHODS, *(method for method in methods if method not in _METHODS)]
    seen: dict[str, int] = {}
    looks = {}
    for arm in arms:
        method = str(arm.axes.get("method"))
        place = order.index(method)
        colour = _METHODS.get(method, _OTHERS[(place - len(_METHODS)) % len(_OTHERS)])
        looks[arm.name] = Look(colour, _MARKERS[place % len(_MARKERS)], _LINES[seen.get(method, 0) % len(_LINES)])
        seen[method] = seen.get(method, 0) + 1
    return looks


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> "tuple[Figure, list[Axes]]":
    """A figure in inches, and its axes from left to right and top to bottom."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(_SETTINGS)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [*axes.flat]


def interval(
    axes: "Axes", place: float, value: float, low: float, high: float, look: Look, *, filled: bool = True
) -> None:
    """A mark at ``value`` with its interval, in the row ``place``."""
    axes.plot([low, high], [place, place], color=look.colour, linewidth=2, alpha=0.55, solid_capstyle="butt")
    face = look.colour if filled else "none"
    axes.plot([value], [place], look.marker, color=look.colour, markerfacecolor=face, markersize=6)


def label(name: str) -> str:
    """A name that leaves the panels their width: the end of a long one, which says more than the path before it."""
    return name if len(name) <= _LABEL_CHARACTERS else f"…{name[1 - _LABEL_CHARACTERS :]}"


def tidy(axes: "Axes", *, along: str = "x") -> None:
    """A grid along one axis, behind the marks, and no ticks' marks on the other."""
    axes.grid(True, axis=along, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
