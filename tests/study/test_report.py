"""The report: self-contained, escaped, and drawn from the numbers."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.probe.probe import METRICS
from response_tuning.study.report import write_report
from response_tuning.support.files import write_json, write_json_lines, write_text

HOSTILE = "<script>alert(1)</script> & <b>bold</b>"
VOID = {"meta"}


class _Checker(HTMLParser):
    """Collects what a browser would load, and tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loaded += [
            value or "" for name, value in attributes if name == "src" or (tag == "link" and name == "href")
        ]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Shapes, which close themselves and load nothing."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def write_folder(folder: Path, rows: int = 20, *, on_topic: int = 18) -> Path:
    """A finished quickstart in which the base fails, RT and IT do alike, and IT has ``on_topic`` responses on topic."""
    values: dict[str, dict[str, Any]] = {}
    for model, value in (("base", 0.0), ("rt", 0.5), ("it", 0.55)):
        values[model] = {
            m: {"value": value, "n": rows, "low": max(0.0, value - 0.1), "high": value + 0.1} for m in METRICS
        }
    write_json(folder / "summary.json", {**values, "seconds": {"import": 3.0}, "peak_memory_bytes": 2_500_000_000})
    for model in ("base", "rt", "it"):
        probe = folder / model / "evaluations" / "probe"
        write_json(
            probe / "metrics.json",
            {"settings": {"max_new_tokens": 128}, "format": "tulu", "versions": {"torch": "2.13.0"}},
        )
        row = {"response": HOSTILE, "stops": True, "copies": False, "loops": True}
        passed = dict.fromkeys(METRICS, rows // 2) | ({"on_topic": on_topic} if model == "it" else {})
        write_json_lines(
            probe / "responses.jsonl",
            (
                {"prompt": f"Question {n}?", **row, "values": {m: float(n < passed[m]) for m in METRICS}}
                for n in range(rows)
            ),
        )
    for method in ("rt", "it"):
        log = [{"loss": 3.0 - 0.1 * n, "supervised_tokens": 100 * n, "seconds": n} for n in range(1, 11)]
        write_json_lines(folder / method / "training.jsonl", log)
        write_text(folder / method / "config.yaml", f"method: {method}\nepochs: 3\n")
        report = {"rows_kept": 9, "rows_read": 9, "supervised_tokens": 900, "prompt_tokens": 90, "rows_truncated": []}
        write_json(folder / method / "data.json", report)
    return folder


@pytest.fixture
def page(tmp_path: Path) -> str:
    return write_report(write_folder(tmp_path)).path.read_text()


def test_the_page_is_well_formed_and_loads_nothing(page: str) -> None:
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loaded == []
    assert "@import" not in page
    assert "url(" not in page


def test_hostile_text_is_shown_and_not_run(page: str) -> None:
    assert HOSTILE not in page
    checker = _Checker()
    checker.feed(page)
    assert HOSTILE in "".join(checker.text)


def test_twelve_questions_are_spread_over_the_held_out_set(page: str) -> None:
    shown = [int(number) for number in re.findall(r'class="prompt">Question (\d+)\?', page)]
    assert shown == [0, 1, 3, 5, 6, 8, 10, 11, 13, 15, 16, 18]


def test_fewer_questions_than_twelve_are_all_shown(tmp_path: Path) -> None:
    page = write_report(write_folder(tmp_path, rows=5)).path.read_text()
    assert page.count('class="prompt"') == 5


def test_a_share_of_one_half_is_drawn_in_the_middle(page: str) -> None:
    plot = page[page.index('aria-label="stops"') :]
    width = float(re.search(r'x2="([\d.]+)" y1="0"', plot[plot.index('x1="560') - 5 :]).group(1))  # type: ignore[union-attr]
    response_tuned = plot[plot.index('<g class="rt"') :]
    assert float(re.search(r'cx="([\d.]+)"', response_tuned).group(1)) == width / 2  # type: ignore[union-attr]


def finding_of(page: str) -> str:
    return " ".join(page[page.index('class="finding"') : page.index("<h2>")].split())


def test_the_finding_is_the_paired_difference_with_its_interval_and_what_the_run_can_show(page: str) -> None:
    finding = finding_of(page)
    assert (
        "Rate of follows over 20 held-out instructions: base model 0% (0% if cut at the first invented turn), "
        in finding
    )
    assert "RT minus IT, paired by instruction: +0.0 points (-16.1 to +16.1; p 1.000)" in finding
    assert "The two are alike on every instruction." in finding
    assert "excludes zero in on_topic." in finding


def test_the_table_has_the_paired_difference_of_every_metric(page: str) -> None:
    on_topic = page[page.index("<strong>on_topic</strong>") :]
    # 8 of 20 instructions, all one way: exact p 2 / 2**8, times thirteen metrics.
    assert "-40.0" in on_topic[: on_topic.index("</tr>")]
    assert "0.008" in on_topic[: on_topic.index("</tr>")]
    assert "(0.102)" in on_topic[: on_topic.index("</tr>")]


def test_a_difference_that_shows_is_not_called_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, on_topic=10)
    assert "excludes zero in none of them." in finding_of(write_report(folder).path.read_text())
    rows = [json.loads(line) for line in (folder / "it/evaluations/probe/responses.jsonl").read_text().splitlines()]
    for row in rows:
        row["values"]["follows"] = 1.0
    write_json_lines(folder / "it" / "evaluations" / "probe" / "responses.jsonl", rows)
    finding = finding_of(write_report(folder).path.read_text())
    assert "-50.0 points (" in finding
    assert "The interval excludes zero." in finding
    assert "cannot tell" not in finding[: finding.index("Rate of correct")]


def test_the_finding_is_about_what_was_asked_where_that_was_measured(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    for model in ("base", "rt", "it"):
        summary[model]["correct"] = summary[model]["stops"]
    write_json(folder / "summary.json", summary)
    page = write_report(folder).path.read_text()
    assert "Rate of correct over 20" in finding_of(page)
    assert "<strong>correct</strong>" in page


def test_options_that_differ_are_marked(page: str) -> None:
    assert '<tr class="differs"><td>method</td>' in page
    assert "<tr><td>epochs</td>" in page


def test_the_same_files_give_the_same_page(tmp_path: Path, page: str) -> None:
    assert write_report(tmp_path).path.read_text() == page
