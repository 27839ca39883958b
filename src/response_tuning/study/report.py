"""A finished quickstart as one self-contained HTML page. This module computes; ``report.html.jinja`` draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.evaluation.shared.known_agreement import describe_agreement, is_symptom
from response_tuning.evaluation.shared.statistics import (
    Estimate,
    estimate_difference,
    holm,
    minimal_detectable_difference,
    paired_p_value,
)
from response_tuning.support.files import read_json, read_json_lines
from response_tuning.support.page import write_page

__all__ = ["PairedDifference", "paired_differences", "write_report"]

_MODELS = {"base": "Base", "rt": "Response-tuned (RT)", "it": "Instruction-tuned (IT)"}
_METRICS = {
    "stops": "ended by itself within the token limit",
    "loops": "repeated itself",
    "copies": "mostly copied its instruction",
    "on_topic": "nearest to its own instruction among all instructions, by sentence embedding",
    "responds": "did what was asked, right or wrong, judged against the reference by sentence embedding and guards",
    "ranks": "comparisons in which the paired response was likelier than another instruction's, per token",
    "ranks_hard": "the same against the responses most similar to the paired one",
    "ranks_pmi": "as ranks, by the increase in a response's log-likelihood due to the instruction",
    "ranks_hard_pmi": "as ranks_hard, by the increase in a response's log-likelihood due to the instruction",
}
"""What metrics mean, where the page shows them."""
_HEADLINES = ("correct", "follows", "responds")
"""Metrics that say whether the model did what was asked; the finding is about the first one that was measured and is no
symptom (``known_agreement``)."""
_LOWER_IS_BETTER = ("loops", "copies")
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
class PairedDifference:
    """RT minus IT in one metric, paired by instruction."""

    estimate: Estimate
    p: float
    """Of the single test."""
    adjusted_p: float
    """Adjusted by Holm's method for all metrics."""
    detectable: float
    """The smallest true difference that this many instructions show in 80% of such runs."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does."""
        return not self.estimate.low <= 0 <= self.estimate.high


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
    rows = {model: read_json_lines(folder / model / "evaluations" / "probe" / "responses.jsonl") for model in _MODELS}
    metrics = {name: _METRICS.get(name, "") for name in summary["rt"]}
    differences = paired_differences(rows["rt"], rows["it"], [*metrics])
    path = folder / "report.html"
    write_page(
        path,
        "study/report.html.jinja",
        models=_MODELS,
        metrics=metrics,
        differences=differences,
        symptoms=[name for name in metrics if is_symptom(name)],
        agreement=[phrase for name in metrics if (phrase := describe_agreement(name))],
        lower_is_better=[name for name in metrics if name in _LOWER_IS_BETTER],
        instructions=len(rows["base"]),
        summary=summary,
        finding=_finding(summary, differences),
        intervals={name: _intervals(name, summary) for name in metrics},
        plot={"width": _PLOT_WIDTH, "height": _PLOT_ROW_HEIGHT},
        curves=_loss_curves(logs),
        curve={"width": _CURVE_WIDTH, "height": _CURVE_HEIGHT},
        questions=_questions(rows),
        configurations=_configurations(folder),
        data={method: read_json(folder / method / "data.json") for method in ("rt", "it")},
        speeds={method: log[-1]["supervised_tokens"] / log[-1]["seconds"] for method, log in logs.items()},
        probe=probe_settings,
    )
    return path


def paired_differences(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, PairedDifference]:
    """The difference of the first probe's rows to the second's in each metric, over the instructions with both values.

    Metrics without a value per instruction, as of older versions, are left out.
    """
    estimates: dict[str, tuple[Estimate, float, float]] = {}
    for metric in metrics:
        pairs = [
            (float(one["values"][metric]), float(other["values"][metric]))
            for one, other in zip(first, second, strict=True)
            if metric in one.get("values", {}) and metric in other.get("values", {})
        ]
        if pairs:
            sides = [(one, 1.0) for one, _ in pairs], [(other, 1.0) for _, other in pairs]
            spread = sum((one - other) ** 2 for one, other in pairs) / len(pairs)
            are_proportions = all(value in (0, 1) for pair in pairs for value in pair)
            detectable = minimal_detectable_difference(len(pairs), spread, are_proportions=are_proportions)
            estimates[metric] = (estimate_difference(*sides), paired_p_value(*sides), detectable)
    adjusted = holm([p for _, p, _ in estimates.values()])
    return {
        metric: PairedDifference(estimate, p, of_family, detectable)
        for (metric, (estimate, p, detectable)), of_family in zip(estimates.items(), adjusted, strict=True)
    }


def _finding(summary: dict[str, Any], differences: Mapping[str, PairedDifference]) -> str:
    """The result in words; every number and comparison is computed."""
    headline = next((name for name in _HEADLINES if name in summary["rt"] and not is_symptom(name)), None)
    if headline is None:
        return (
            "No metric of this run agrees with labels well enough to say how many instructions were answered. Read the "
            "responses below, have them rated, or ask a judge."
        )
    base, rt, it = (summary[name][headline] for name in ("base", "rt", "it"))
    rates = (
        f"Rate of {headline} over {base['n']} held-out instructions: base model {base['value']:.0%}, tuned on "
        f"responses alone (RT) {rt['value']:.0%}, tuned on instruction-response pairs (IT) {it['value']:.0%}."
    )
    if headline not in differences:
        return rates
    others = [name for name, of in differences.items() if of.excludes_zero and name != headline]
    rest = f"in {' and '.join(others)}" if others else "in none of them"
    return (
        f"{rates} {_headline_difference(differences[headline])} Of the other metrics, the interval of the paired "
        f"difference excludes zero {rest}."
    )


def _headline_difference(difference: PairedDifference) -> str:
    estimate = difference.estimate
    value = (
        f"RT minus IT, paired by instruction: {100 * estimate.value:+.1f} points ({100 * estimate.low:+.1f} to "
        f"{100 * estimate.high:+.1f}; p {difference.p:.3f})."
    )
    if difference.excludes_zero:
        return f"{value} The interval excludes zero."
    return (
        f"{value} The interval contains zero: this run cannot tell RT and IT apart. {estimate.n} instructions show a "
        f"difference of {100 * difference.detectable:.0f} points or more in 80% of such runs."
    )


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


def _questions(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Evenly spaced held-out instructions, not selected ones, with the response of every model."""
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
