"""A study's report from what is there: one page, Markdown, tables and figures. The same results give the same files."""

import re
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from markupsafe import Markup

from response_tuning.study.reporting.contents import Report, ShownFigure
from response_tuning.study.reporting.contrasts import Contrast, Value, compare_arms, values_of
from response_tuning.study.reporting.examples import shown_prompts
from response_tuning.study.reporting.figures.contract import StudyResults
from response_tuning.study.reporting.figures.registry import figure_kinds
from response_tuning.study.reporting.figures.style import PAGE_COLOURS
from response_tuning.study.reporting.findings import coverage_line, findings
from response_tuning.study.reporting.markdown import write_markdown
from response_tuning.study.reporting.results import Results, gather
from response_tuning.study.reporting.tables import beside_papers, estimate_text, p_text, write_tables
from response_tuning.study.running.status import require_plan
from response_tuning.support.files import make_folder
from response_tuning.support.page import write_page
from response_tuning.support.plots import write_figure
from response_tuning.support.progress import warn

__all__ = ["write_study_report"]

_TEMPLATE = "study/reporting/page.html.jinja"
SUFFIXES = (".svg", ".png")
"""Of the files of a figure; the page holds the first."""
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_SIZE = re.compile(r'(<svg[^>]*?) (?:height|width)="[^"]*"')


def write_study_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report of a study's folder, also while the study runs; returns the page.

    Args:
        folder: of the study.
        output: where to write. Defaults to ``report/`` there.

    Raises:
        UserError: the folder holds no study.
    """
    plan, target = require_plan(folder), output or folder / "report"
    results = gather(plan, folder)
    values = values_of(results)
    contrasts = compare_arms(results, plan.report.baseline, plan.report.metrics)
    make_folder(target)
    measured = sum(len(arm.cells) for of in results for arm in of.arms)
    report = Report(
        plan=plan,
        findings=findings(contrasts),
        coverage=coverage_line(plan, measured),
        results=[of for of in results if of.arms],
        values={(value.evaluation, value.arm.name, value.metric): value.estimate for value in values},
        contrasts=contrasts,
        figures=_figures(StudyResults(plan, folder, results, values, contrasts), target),
        published=beside_papers(results, values),
        examples=shown_prompts(results, plan.report.examples),
        tables=_tables(target, results, values, contrasts),
    )
    page = target / "index.html"
    write_page(page, _TEMPLATE, report=report, estimate_text=estimate_text, p_text=p_text, inline=Markup)
    write_markdown(target / "report.md", report)
    return page


def _tables(
    target: Path, results: Sequence[Results], values: Sequence[Value], contrasts: Sequence[Contrast]
) -> list[str]:
    """Replaced as a whole: tables of an evaluation that was removed go with it."""
    shutil.rmtree(target / "tables", ignore_errors=True)
    return write_tables(target / "tables", results, values, contrasts)


def _figures(study: StudyResults, target: Path) -> list[ShownFigure]:
    if find_spec("matplotlib") is None:
        warn("The report has no figures: pip install 'response-tuning[plot]'.")
        return []
    shutil.rmtree(target / "figures", ignore_errors=True)
    shown = []
    for kind in figure_kinds():
        for drawn in kind.draw(study):
            drawn.figure.draw_without_rendering()  # places everything once, not again for each file
            drawn.figure.set_layout_engine("none")
            for suffix in SUFFIXES:
                write_figure(drawn.figure, target / "figures" / f"{drawn.name}{suffix}")
            svg = (target / "figures" / f"{drawn.name}.svg").read_text(encoding="utf-8")
            shown.append(ShownFigure(drawn.name, drawn.caption, _inline(svg)))
    return shown


def _inline(svg: str) -> str:
    """An SVG file as part of the page: without a prologue and a fixed size, in the page's colours."""
    svg = _PROLOGUE.sub("", svg)
    for _ in range(2):
        svg = _SIZE.sub(r"\1", svg, count=1)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour, variable)
    return svg
