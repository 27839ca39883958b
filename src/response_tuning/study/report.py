"""A finished quickstart as one self-contained HTML page. This module computes; ``report.html.jinja`` draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.support.files import read_json, read_json_lines
from response_tuning.support.page import write_page

__all__ = ["write_report"]

_MODELS = {"base": "Base", "rt": "Response-tuned (RT)", "it": "Instruction-tuned (IT)"}
_METRICS = {
    "stops": "ended by itself within the token limit",
    "echoes": "mostly copied its instruction",
    "repeats": "looped",
    "relevant": "nearest to its own instruction among all instructions, by sentence embedding",
    "answers": "stopped, neither echoed nor looped, and had its own instruction among the nearest five",
    "ranks": "comparisons in which the paired response was likelier than another instruction's, per token",
    "ranks_hard": "the same against the responses most similar to the paired one",
    "ranks_pmi": "as ranks, by the increase in a response's log-likelihood due to the instruction",
    "ranks_hard_pmi": "as ranks_hard, by the increase in a response's log-likelihood due to the instruction",
}
_QUESTIONS_SHOWN = 12

_PLOT_WIDTH, _PLOT_ROW_HEIGHT = 560, 46
_CURVE_WIDTH, _CURVE_HEIGHT = 560, 220
_SMOOTHING = 0.8


@dataclass(frozen=True)
class Interval:
    """One estimate in the plot: horizontal positions, and a label."""

    model: str
    middle: float
    low: float
    high: float
    vertical: float
    label: str


@dataclass(frozen=True)
class Curve:
    """The losses of one training as SVG polyline points."""

    model: str
    raw: str
    smooth: str


@dataclass(frozen=True)
class Curves:
    """Loss curves on shared axes."""

    curves: list[Curve]
    ticks: list[tuple[float, str]]
    """Vertical position and loss of each tick."""
    last_step: int


def write_report(folder: Path) -> Path:
    """Write ``report.html`` from the files of a finished quickstart. The same files give the same page."""
    summary = read_json(folder / "summary.json")
    logs = {method: read_json_lines(folder / method / "training.jsonl") for method in ("rt", "it")}
    probe_settings = read_json(folder / "base" / "evaluations" / "probe" / "metrics.json")
    path = folder / "report.html"
    write_page(
        path,
        "study/report.html.jinja",
        models=_MODELS,
        metrics=_METRICS,
        summary=summary,
        finding=_finding(summary),
        intervals={name: _intervals(name, summary) for name in _METRICS},
        plot={"width": _PLOT_WIDTH, "height": _PLOT_ROW_HEIGHT},
        curves=_loss_curves(logs),
        curve={"width": _CURVE_WIDTH, "height": _CURVE_HEIGHT},
        questions=_questions(folder),
        configurations=_configurations(folder),
        data={method: read_json(folder / method / "data.json") for method in ("rt", "it")},
        speeds={method: log[-1]["supervised_tokens"] / log[-1]["seconds"] for method, log in logs.items()},
        probe=probe_settings,
    )
    return path


def _finding(summary: dict[str, Any]) -> str:
    """The result in words; every number and comparison is computed."""
    base, rt, it = (summary[name]["answers"] for name in ("base", "rt", "it"))
    apart = [metric for metric in _METRICS if not _overlap(summary["rt"][metric], summary["it"][metric])]
    comparison = (
        f"The intervals of RT and IT do not overlap in {' and '.join(apart)}, and overlap in all other metrics."
        if apart
        else "The intervals of RT and IT overlap in every metric: this run cannot tell them apart."
    )
    return (
        f"The base model answered {base['value']:.0%} of {base['n']} held-out instructions, the model tuned on "
        f"responses alone {rt['value']:.0%} ({rt['low']:.0%} to {rt['high']:.0%}), and the one tuned on "
        f"instruction-response pairs {it['value']:.0%} ({it['low']:.0%} to {it['high']:.0%}). {comparison}"
    )


def _overlap(first: dict[str, float], second: dict[str, float]) -> bool:
    return first["low"] <= second["high"] and second["low"] <= first["high"]


def _intervals(metric: str, summary: dict[str, Any]) -> list[Interval]:
    drawn = []
    for row, model in enumerate(_MODELS):
        estimate = summary[model][metric]
        middle, low, high = (_PLOT_WIDTH * estimate[key] for key in ("value", "low", "high"))
        label = f"{_MODELS[model]}: {estimate['value']:.0%} ({estimate['low']:.0%} to {estimate['high']:.0%})"
        drawn.append(Interval(model, middle, low, high, 10 + 13 * row, label))
    return drawn


def _loss_curves(logs: dict[str, list[dict[str, Any]]]) -> Curves:
    losses = {method: [float(row["loss"]) for row in log] for method, log in logs.items()}
    every = [loss for series in losses.values() for loss in series]
    low, high = min(every), max(every)
    span = max(high - low, 1e-9)
    last_step = max(len(series) for series in losses.values())

    def points(series: Sequence[float]) -> str:
        return " ".join(
            f"{_CURVE_WIDTH * step / max(1, last_step - 1):.1f},{_CURVE_HEIGHT * (high - loss) / span:.1f}"
            for step, loss in enumerate(series)
        )

    ticks = [(_CURVE_HEIGHT * part, f"{high - part * span:.2f}") for part in (0, 0.25, 0.5, 0.75, 1)]
    curves = [Curve(method, points(series), points(_smoothed(series))) for method, series in losses.items()]
    return Curves(curves, ticks, last_step)


def _smoothed(series: Sequence[float]) -> list[float]:
    """An exponential moving average with bias correction."""
    smoothed, mean, weight = [], 0.0, 0.0
    for value in series:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed


def _questions(folder: Path) -> list[dict[str, Any]]:
    """Evenly spaced held-out instructions, not selected ones, with the response of every model."""
    rows = {model: read_json_lines(folder / model / "evaluations" / "probe" / "responses.jsonl") for model in _MODELS}
    count = len(rows["base"])
    shown = min(_QUESTIONS_SHOWN, count)
    return [
        {"prompt": rows["base"][index]["prompt"], "answers": {model: rows[model][index] for model in _MODELS}}
        for index in (number * count // shown for number in range(shown))
    ]


def _configurations(folder: Path) -> list[tuple[str, str, str]]:
    """Each option with its value in RT and in IT."""
    rt, it = (yaml.safe_load((folder / method / "config.yaml").read_text(encoding="utf-8")) for method in ("rt", "it"))
    return [(option, str(rt.get(option)), str(it.get(option))) for option in rt]
