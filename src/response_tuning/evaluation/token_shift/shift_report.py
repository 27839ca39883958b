"""Token shift in the page of ``rt compare``: a figure by position for each run, and its most shifted tokens.

Numbers are read from ``evaluations/token_shift/metrics.json`` and drawn by ``shift.html.jinja``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from response_tuning.evaluation.token_shift.summary import Bin, ShiftedToken
from response_tuning.support.files import read_json

__all__ = ["TOKEN_SHIFT", "Bar", "ShiftView", "shift_views"]

TOKEN_SHIFT = "token_shift"
"""The name of the folder of its results."""
PLOT_HEIGHT = 120
_BAR, _GAP = 44, 8
_MOST_TOKENS = 10


@dataclass(frozen=True)
class Bar:
    """The bars of one bin in both plots, in the units of a plot of ``PLOT_HEIGHT``."""

    x: float
    width: float
    label: str
    of: Bin
    segments: tuple[tuple[str, float, float, float], ...]
    """Name, upper end, height and rate of each stacked segment, from the lowest."""
    kl_height: float


@dataclass(frozen=True)
class ShiftView:
    """One run's token shift as it is drawn."""

    run: str
    base: str
    responses: str
    """Whose responses were read."""
    metrics: Mapping[str, Any]
    bars: tuple[Bar, ...]
    width: float
    kl_top: float
    """KL at the top of the plots of all runs."""
    tokens: tuple[ShiftedToken, ...]


def shift_views(folders: Mapping[str, Path]) -> list[ShiftView]:
    """What is drawn of each run; all KL plots have one scale.

    Args:
        folders: by the run's name, where ``rt probe --tokens`` saved its result.
    """
    saved = {run: read_json(folder / "metrics.json") for run, folder in folders.items()}
    bins = {run: [Bin(**each) for each in metrics["bins"]] for run, metrics in saved.items()}
    top = max((each.kl for of_run in bins.values() for each in of_run), default=0.0) or 1.0
    return [_view(run, metrics, bins[run], top) for run, metrics in saved.items()]


def _view(run: str, saved: Mapping[str, Any], bins: list[Bin], kl_top: float) -> ShiftView:
    return ShiftView(
        run=run,
        base=saved["base"],
        responses=_whose(saved["settings"]["tokens_on"]),
        metrics=saved["metrics"],
        bars=tuple(_bars(bins, kl_top)),
        width=len(bins) * (_BAR + _GAP),
        kl_top=kl_top,
        tokens=tuple(_readable(ShiftedToken(**each)) for each in saved["tokens"][:_MOST_TOKENS]),
    )


def _readable(token: ShiftedToken) -> ShiftedToken:
    """With quotes, and spaces and line breaks in sight."""
    return replace(token, text=repr(token.text), instead=repr(token.instead))


def _whose(tokens_on: str) -> str:
    return {"own": "its own greedy responses", "references": "the references"}.get(
        tokens_on, f"the responses of {tokens_on}"
    )


def _bars(bins: list[Bin], kl_top: float) -> Iterator[Bar]:
    for place, of in enumerate(bins):
        segments, above = [], float(PLOT_HEIGHT)
        for name, rate in (("unshifted", of.unshifted), ("marginal", of.marginal), ("shifted", of.shifted)):
            height = PLOT_HEIGHT * rate
            above -= height
            segments.append((name, above, height, rate))
        label = str(of.first) if of.first == of.last else f"{of.first}-{of.last}"
        yield Bar(place * (_BAR + _GAP), _BAR, label, of, tuple(segments), PLOT_HEIGHT * of.kl / kl_top)
