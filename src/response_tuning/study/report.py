"""A finished quickstart as one self-contained HTML page. This module computes; ``report.html.jinja`` draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.evaluation.probe.readings import CUT
from response_tuning.evaluation.shared.known_agreement import describe_agreement, is_symptom
from response_tuning.evaluation.shared.statistics import (
    Estimate,
    estimate_over_seeds,
    holm,
    minimal_detectable_difference,
    paired_p_value,
)
from response_tuning.study.smoothing import smoothed
from response_tuning.support.files import read_json, read_json_lines
from response_tuning.support.page import write_page

__all__ = ["PairedDifference", "Report", "paired_differences", "seed_table", "write_report"]

_MODELS = {"base": "Base", "rt": "Response-tuned (RT)", "it": "Instruction-tuned (IT)"}
_METRICS = {
    "follows": "did what was asked, right or wrong, by the checks that come with each instruction",
    "correct": "followed, was right by the checks, and stopped",
    "follows_cut": "follows, where each response is cut at the first further turn that it invents",
    "correct_cut": "correct, where each response is cut at the first further turn that it invents",
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
_HEADLINES = ("follows", "correct", "responds")
"""Metrics that say whether the model did what was asked. The finding is about those that were measured and are no
symptoms (``known_agreement``)."""
_LOWER_IS_BETTER = ("loops", "copies")
_QUESTIONS_SHOWN = 12

_PLOT_WIDTH, _PLOT_ROW_HEIGHT = 560, 46
_CURVE_WIDTH, _CURVE_HEIGHT = 560, 220


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


@dataclass(frozen=True)
class Report:
    """What was written, and what it says."""

    path: Path
    finding: str
    """The result in words."""


def write_report(folder: Path) -> Report:
    """Write ``report.html`` from the files of a finished quickstart. The same files give the same page."""
    summary = read_json(folder / "summary.json")
    logs = {method: read_json_lines(folder / method / "training.jsonl") for method in ("rt", "it")}
    probe_settings = read_json(folder / "base" / "evaluations" / "probe" / "metrics.json")
    runs = {model: summary.get("runs", {}).get(model, [model]) for model in _MODELS}
    of_seeds = {model: [_responses(folder / name) for name in names] for model, names in runs.items()}
    rows = {model: of_seeds[model][0] for model in _MODELS}
    metrics = _shown(summary["rt"])
    differences = paired_differences(of_seeds["rt"], of_seeds["it"], [*metrics])
    finding = _finding(summary, differences, seeds=len(runs["rt"]))
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
        seeds=len(runs["rt"]),
        summary=summary,
        finding=finding,
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
    return Report(path, finding)


def _shown(measured: Mapping[str, Any]) -> dict[str, str]:
    """The metrics that the page shows, with their meanings: of cut responses only what is worth reading twice."""
    known = [name for name in _METRICS if name in measured]
    others = [name for name in measured if name not in _METRICS and not name.endswith(CUT)]
    return {name: _METRICS.get(name, "") for name in [*known, *others]}


def _responses(run: Path) -> list[dict[str, Any]]:
    return read_json_lines(run / "evaluations" / "probe" / "responses.jsonl")


ProbeRows = Sequence[Mapping[str, Any]]


def paired_differences(
    first: Sequence[ProbeRows], second: Sequence[ProbeRows], metrics: Sequence[str]
) -> dict[str, PairedDifference]:
    """The difference of the first probes to the second in each metric, over the instructions with all values.

    Metrics without a value per instruction, as of older versions, are left out.

    Args:
        first: the rows of each seed's probe.
        second: those of the other method, with the same seeds.
        metrics: names.
    """
    found: dict[str, tuple[Estimate, float, float]] = {}
    for metric in metrics:
        both = seed_table([*first, *second], metric)
        table, baseline = both[: len(first)], both[len(first) :]
        if not table[0]:
            continue
        means = [[sum(column) / len(column) for column in zip(*side, strict=True)] for side in (table, baseline)]
        spread = sum((one - other) ** 2 for one, other in zip(*means, strict=True)) / len(means[0])
        are_proportions = all(value in (0, 1) for side in means for value in side)
        detectable = minimal_detectable_difference(len(means[0]), spread, are_proportions=are_proportions)
        weighted = [[(value, 1.0) for value in side] for side in means]
        found[metric] = (estimate_over_seeds(table, baseline), paired_p_value(*weighted), detectable)
    adjusted = holm([p for _, p, _ in found.values()])
    return {
        metric: PairedDifference(estimate, p, of_family, detectable)
        for (metric, (estimate, p, detectable)), of_family in zip(found.items(), adjusted, strict=True)
    }


def seed_table(of_seeds: Sequence[ProbeRows], metric: str) -> list[list[float]]:
    """The values [seeds, instructions] of a metric, over the instructions for which every probe has one."""
    columns = [
        [float(row["values"][metric]) for row in rows]
        for rows in zip(*of_seeds, strict=True)
        if all(metric in row.get("values", {}) for row in rows)
    ]
    return [list(values) for values in zip(*columns, strict=True)] or [[] for _ in of_seeds]


def _finding(summary: dict[str, Any], differences: Mapping[str, PairedDifference], *, seeds: int) -> str:
    """The result in words; every number and comparison is computed."""
    headlines = [name for name in _HEADLINES if name in summary["rt"] and not is_symptom(name)]
    if not headlines:
        return (
            "No metric of this run agrees with labels well enough to say how many instructions were answered. Read the "
            "responses below, have them rated, or ask a judge."
        )
    headlines = [name for name in headlines if name != "responds"] or headlines
    others = [name for name, of in differences.items() if of.excludes_zero and name not in headlines]
    rest = f"in {' and '.join(others)}" if others else "in none of them"
    sentences = [_rates(name, summary, differences, seeds) for name in headlines]
    return (
        f"{' '.join(sentences)} Of the other metrics, the interval of the paired difference excludes zero {rest}."
        if differences
        else " ".join(sentences)
    )


def _rates(headline: str, summary: Mapping[str, Any], differences: Mapping[str, PairedDifference], seeds: int) -> str:
    base, rt, it = (summary[name][headline] for name in ("base", "rt", "it"))
    cut = summary["base"].get(f"{headline}{CUT}")
    of_base = f"{base['value']:.0%}" + (f" ({cut['value']:.0%} if cut at the first invented turn)" if cut else "")
    rates = (
        f"Rate of {headline} over {base['n']} held-out instructions{_of_seeds(seeds)}: base model {of_base}, tuned on "
        f"responses alone (RT) {rt['value']:.0%}, tuned on instruction-response pairs (IT) {it['value']:.0%}."
    )
    return f"{rates} {_headline_difference(differences[headline])}" if headline in differences else rates


def _of_seeds(seeds: int) -> str:
    return f" and {seeds} seeds" if seeds > 1 else ""


def _headline_difference(difference: PairedDifference) -> str:
    estimate = difference.estimate
    value = (
        f"RT minus IT, paired by instruction: {100 * estimate.value:+.1f} points ({100 * estimate.low:+.1f} to "
        f"{100 * estimate.high:+.1f}; p {difference.p:.3f})."
    )
    if difference.excludes_zero:
        return f"{value} The interval excludes zero."
    if not difference.detectable:
        return f"{value} The two are alike on every instruction."
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
    curves = [Curve(method, points(series), points(smoothed(series))) for method, series in losses.items()]
    return Curves(curves, ticks, last_step)


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
