"""The results of a rating as a page and as CSV."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.people.report.summary import RatingSummary
from response_tuning.people.report.tables import JOINS, shown_bounds
from response_tuning.support.files import write_text
from response_tuning.support.page import write_page

__all__ = ["rating_page_values", "write_rating_report"]


def write_rating_report(folder: Path, summary: RatingSummary) -> Path:
    """Write ``report.html`` and ``report.csv`` into the folder of a rating; returns the page's path."""
    write_text(folder / "report.csv", _csv(summary))
    write_page(folder / "report.html", "people/report/report.html.jinja", **rating_page_values(summary))
    return folder / "report.html"


def rating_page_values(summary: RatingSummary) -> dict[str, Any]:
    """What the templates of results need."""
    return {"summary": summary, "join": JOINS[summary.join], "shown_bounds": shown_bounds}


def _csv(summary: RatingSummary) -> str:
    """One estimate a row: measure, what it is about, value, bounds, n."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["measure", "about", "value", "low", "high", "n"])
    writer.writerows(_csv_rows(summary))
    return file.getvalue()


def _csv_rows(summary: RatingSummary) -> Iterator[list[object]]:
    for run, rate in summary.acceptance.items():
        yield _row("acceptable", run, rate)
    for level, of_level in summary.levels.items():
        yield from (_row(level, run, rate) for run, rate in of_level.items())
    for (first, second), sides in summary.preferences.items():
        names = {"first": f"prefers {first}", "tie": "tie", "second": f"prefers {second}"}
        yield from (_row(names[side], f"{first} / {second}", rate) for side, rate in sides.items())
    for run, rate in summary.wins.items():
        yield _row("wins", run, rate)
    for kind, strengths in (("strength", summary.strengths), ("strength at equal length", summary.controlled)):
        for run, bounds in (strengths.of_runs if strengths else {}).items():
            yield [kind, run, *bounds, ""]
    for name, found in summary.agreement.items():
        yield [f"alpha of {name}", "raters", found.alpha, found.low, found.high, found.prompts]
        yield [f"same {name}", "raters", found.same, "", "", found.prompts]
    for name, rater in summary.raters.items():
        yield ["votes", name, rater.votes, "", "", rater.votes]
        yield ["median seconds", name, rater.seconds, "", "", rater.votes]
        yield ["attention checks passed", name, rater.checks[0], "", "", rater.checks[1]]
        for measure, estimate in (("prefers the left", rater.left), ("agrees with others", rater.agreement)):
            if estimate is not None:
                yield _row(measure, name, estimate)
    for proxy in summary.proxies:
        pairs = {"agreement": proxy.agreement, "kappa": proxy.kappa, "minus people": proxy.excess, "AUC": proxy.auc}
        yield from (_row(f"{kind} with people", proxy.measure, of) for kind, of in pairs.items() if of is not None)
    for judge in summary.judges:
        yield _row("agreement with people", judge.judge, judge.agreement)
        if judge.kappa is not None:
            yield _row("kappa with people", judge.judge, judge.kappa)


def _row(measure: str, about: str, estimate: Estimate) -> list[object]:
    return [measure, about, estimate.value, estimate.low, estimate.high, estimate.n]
