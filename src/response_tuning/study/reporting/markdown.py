"""A study's report as Markdown, for repositories and pull requests."""

from pathlib import Path

from response_tuning.study.reporting.contents import Report
from response_tuning.study.reporting.tables import estimate_text, p_text
from response_tuning.support.files import write_text

__all__ = ["write_markdown"]


def write_markdown(path: Path, report: Report) -> None:
    """Write findings, tables and links to the figures."""
    parts = [f"# {report.plan.question or report.plan.name}", *_paragraphs(report)]
    for of in report.results:
        parts += [f"## {of.label}", _means(report, of.label)]
        if any(one.evaluation == of.label for one in report.contrasts):
            parts += ["Differences, paired by prompt and seed:", _differences(report, of.label)]
    if report.figures:
        parts.append("## Figures")
        parts += [f"![{figure.caption}](figures/{figure.name}.svg)\n\n{figure.caption}" for figure in report.figures]
    if report.published:
        parts += ["## Published values beside these", _published(report)]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")


def _paragraphs(report: Report) -> list[str]:
    notes = [report.plan.notes] if report.plan.notes else []
    left_out = [f"Left out: {reason}" for reason in report.plan.left_out]
    return ["\n".join(f"- {sentence}" for sentence in report.findings), report.coverage, *notes, *left_out]


def _means(report: Report, label: str) -> str:
    of = next(each for each in report.results if each.label == label)
    rows = [[arm.name, *(_cell(report, label, arm.name, metric) for metric in of.metrics)] for arm in of.arms]
    return _table(["arm", *of.metrics], rows)


def _cell(report: Report, label: str, arm: str, metric: str) -> str:
    estimate = report.values.get((label, arm, metric))
    return "" if estimate is None else estimate_text(estimate)


def _differences(report: Report, label: str) -> str:
    rows = [
        [
            one.metric,
            f"{one.arm.name} minus {one.baseline.name}",
            estimate_text(one.estimate, signed=True),
            p_text(one.p),
            p_text(one.adjusted_p),
            f"{one.detectable:.3f}",
        ]
        for one in report.contrasts
        if one.evaluation == label
    ]
    return _table(["metric", "difference", "value", "p", "p, Holm", "detectable"], rows)


def _published(report: Report) -> str:
    names = ["evaluation", "metric", "arm", "ours", "published", "published model", "published data", "source"]
    return _table(names, [[str(row[name]) for name in names] for row in report.published])


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
