"""The numbers of a report as tables: CSV for programs, LaTeX for papers, and cells for pages."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.study.planning.collected import slug
from response_tuning.study.reporting.contrasts import Contrast, Value
from response_tuning.study.reporting.published import published_with
from response_tuning.study.reporting.results import Results
from response_tuning.support.files import write_text

__all__ = ["beside_papers", "estimate_text", "p_text", "write_tables"]

_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}


def estimate_text(estimate: Estimate, *, signed: bool = False) -> str:
    """An estimate with its interval."""
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.3f} ({estimate.low:{sign}.3f} to {estimate.high:{sign}.3f})"


def p_text(p: float | None) -> str:
    """A p value as it is printed; empty where there was no test."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def beside_papers(results: Sequence[Results], values: Sequence[Value]) -> list[dict[str, Any]]:
    """A row for each published number and the arm of ours beside it."""
    names = {of.label: of.evaluation for of in results}
    rows: list[dict[str, Any]] = []
    for value in values:
        rows += [
            {
                "evaluation": value.evaluation,
                "metric": value.metric,
                "arm": value.arm.name,
                "ours": value.estimate.value,
                "low": value.estimate.low,
                "high": value.estimate.high,
                "published": one.value,
                "published model": one.model,
                "published data": one.data,
                "published method": one.method,
                "same model": "yes" if one.is_of(str(value.arm.axes.get("model", ""))) else "no",
                "source": one.source,
            }
            for one in published_with(names[value.evaluation], value.metric, value.arm.axes)
        ]
    return rows


def write_tables(
    folder: Path, results: Sequence[Results], values: Sequence[Value], contrasts: Sequence[Contrast]
) -> list[str]:
    """Write the tables of a report; returns their names."""
    tables: dict[str, list[dict[str, Any]]] = {
        "means": [_value_row(value) for value in values],
        "differences": [_contrast_row(contrast) for contrast in contrasts],
        "seeds": _seed_rows(results),
        "published": beside_papers(results, values),
    }
    names = []
    for name, rows in tables.items():
        if rows:
            write_text(folder / f"{name}.csv", _csv(rows))
            names.append(f"{name}.csv")
    for of in results:
        shown = [value for value in values if value.evaluation == of.label]
        if shown:
            name = f"{slug(of.label)}.tex"
            write_text(folder / name, _tex(of, shown))
            names.append(name)
    return names


def _value_row(value: Value) -> dict[str, Any]:
    estimate = value.estimate
    return {
        "evaluation": value.evaluation,
        "metric": value.metric,
        "arm": value.arm.name,
        **value.arm.axes,
        "seeds": value.seeds,
        "prompts": estimate.n,
        "mean": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
    }


def _contrast_row(one: Contrast) -> dict[str, Any]:
    return {
        "evaluation": one.evaluation,
        "metric": one.metric,
        "arm": one.arm.name,
        "baseline": one.baseline.name,
        "seeds": one.seeds,
        "prompts": one.estimate.n,
        "difference": one.estimate.value,
        "low": one.estimate.low,
        "high": one.estimate.high,
        "p": f"{one.p:.6f}",
        "p adjusted (Holm)": "" if one.adjusted_p is None else f"{one.adjusted_p:.6f}",
        "minimal detectable difference": f"{one.detectable:.4f}",
    }


def _seed_rows(results: Sequence[Results]) -> list[dict[str, Any]]:
    """The mean of each run, and its numbers that are no means over prompts."""
    rows: list[dict[str, Any]] = []
    for of in results:
        for arm in of.arms:
            for cell in arm.cells:
                numbers: dict[str, float] = {}
                for metric in of.metrics:
                    pairs = [values[metric] for values in cell.values.values() if metric in values]
                    if pairs:
                        numbers[metric] = sum(part for part, _ in pairs) / sum(whole for _, whole in pairs)
                place = {"evaluation": of.label, "arm": arm.name, "seed": "" if cell.seed is None else cell.seed}
                rows += [
                    {**place, "metric": metric, "value": round(number, 6)}
                    for metric, number in {**numbers, **cell.others}.items()
                ]
    return rows


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _tex(of: Results, values: Sequence[Value]) -> str:
    """Arms by metrics, for the package booktabs."""
    cells = {(value.arm.name, value.metric): value.estimate for value in values}
    lines = [
        f"% {of.label}: means with 95% confidence intervals",
        rf"\begin{{tabular}}{{l{'r' * len(of.metrics)}}}",
        r"\toprule",
        " & ".join(["", *map(_escaped, of.metrics)]) + r" \\",
        r"\midrule",
    ]
    for arm in of.arms:
        row = [_tex_cell(cells.get((arm.name, metric))) for metric in of.metrics]
        lines.append(" & ".join([_escaped(arm.name), *row]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex_cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "--"
    return f"{estimate.value:.3f} {{\\small [{estimate.low:.3f}, {estimate.high:.3f}]}}"


def _escaped(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
