"""Reports and exports of a rating: tables, pages, files of other programs, and measures against people."""

import csv
import json
from pathlib import Path

import pytest
from rich.console import Console

from response_tuning.evaluation.alpaca.alpaca_format import read_annotations
from response_tuning.people.export import export_rating
from response_tuning.people.report.evaluations import save_evaluations
from response_tuning.people.report.files import write_rating_report
from response_tuning.people.report.summary import rating_summary
from response_tuning.people.report.tables import rating_tables
from response_tuning.people.statistics.proxies import Item, judge_agreement, measure_proxy
from response_tuning.people.store import Store, Vote
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines, write_json, write_json_lines
from tests.people.ratings import make_rating, vote_all

RUNS = ("alpha", "beta")
AT = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two raters, four prompts; alpha is always acceptable and preferred but by rater 2 on prompt 0, who says a tie."""
    monkeypatch.chdir(tmp_path)
    for run in RUNS:
        (tmp_path / run / "adapter").mkdir(parents=True)
    store = make_rating(tmp_path / "rating", runs=RUNS, raters=2)
    for assignment, rater, prompt, left in store.rows("SELECT id, rater, prompt, left_run FROM assignments"):
        good, bad = (0, 2) if left == 0 else (2, 0)
        preference = 1 if (rater, prompt) == (1, 0) else 0 if left == 0 else 2
        store.save(assignment, Vote(good, bad, preference, seconds=2 + rater, comment="a <b>"), at=AT)
    return store


def test_the_summary_says_what_raters_said(store: Store) -> None:
    summary = rating_summary(store)
    assert {run: rate.value for run, rate in summary.acceptance.items()} == {"alpha": 1.0, "beta": 0.0}
    ((_, sides),) = summary.preferences.items()
    assert (sides["first"].value, sides["tie"].value, sides["first"].n) == (0.875, 0.125, 4)
    assert summary.wins["alpha"].value == 0.9375
    assert summary.agreement["preference"].same == 0.75
    assert {name: rater.seconds for name, rater in summary.raters.items()} == {"rater 1": 2, "rater 2": 3}
    majority = rating_summary(store, join="majority")
    assert next(iter(majority.preferences.values()))["tie"].value == 0.125  # one of two is no majority: halves
    assert rating_summary(store, join="dawid-skene").acceptance["alpha"].value > 0.99


def test_the_report_is_printed_and_written(store: Store, tmp_path: Path) -> None:
    summary = rating_summary(store, join="majority")
    console = Console(width=200, record=True)
    console.print(rating_tables(summary))
    text = console.export_text()
    for part in ("the majority of raters", "100.0%", "Krippendorff", "rater 2", "An, Kim & Kim 2025"):
        assert part in text
    page = write_rating_report(tmp_path / "rating", summary).read_text()
    assert "the majority of raters" in page and "alpha" in page and "<svg" in page
    rows = list(csv.DictReader((tmp_path / "rating" / "report.csv").open()))
    found = {(row["measure"], row["about"]): row for row in rows}
    assert found["acceptable", "alpha"]["value"] == "1.0" and found["acceptable", "alpha"]["n"] == "4"
    assert float(found["prefers alpha", "alpha / beta"]["low"]) < 0.875


def test_names_are_text_in_every_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = make_rating(tmp_path, runs=["exp[lr=1e-4]", "<b>[/x]"])
    vote_all(store)
    summary = rating_summary(store, with_proxies=False)
    console = Console(width=200, record=True, markup=False)
    console.print(rating_tables(summary))
    assert "exp[lr=1e-4]" in console.export_text()
    page = write_rating_report(tmp_path, summary).read_text()
    assert "<b>[" not in page and "&lt;b&gt;[/x]" in page
    store.close()


def test_what_people_say_is_an_evaluation_of_each_run(store: Store, tmp_path: Path) -> None:
    folders = save_evaluations(store, rating_summary(store))
    assert folders == [Path(run) / "evaluations" / "rating" for run in RUNS]
    metrics = read_json(tmp_path / "alpha" / "evaluations" / "rating" / "metrics.json")
    assert metrics["metrics"]["acceptable"]["value"] == 1.0 and metrics["task"] == "rating"
    rows = read_json_lines(tmp_path / "beta" / "evaluations" / "rating" / "responses.jsonl")
    assert [row["values"] for row in rows] == [{"acceptable": 0.0, "win": 0.25}] + [{"acceptable": 0.0, "win": 0.0}] * 3


def test_every_vote_is_exported(store: Store, tmp_path: Path) -> None:
    (path,) = export_rating(store, tmp_path / "votes.jsonl", "votes")
    rows = read_json_lines(path)
    assert len(rows) == 8 and [row["position"] for row in rows[:4]] == [0, 1, 2, 3]
    for row in rows:
        good = "left" if row["left_run"] == "alpha" else "right"
        assert row[f"{good}_level"] == "Excellent" and row[f"{good}_acceptable"] is True
        assert row[f"{good}_response"].endswith("letter x")
        assert row["comment"] == "a <b>" and row["flagged"] is False


def test_pairs_are_rows_for_preference_tuning(store: Store, tmp_path: Path) -> None:
    (path,) = export_rating(store, tmp_path / "pairs.jsonl", "pairs")
    rows = read_json_lines(path)
    assert len(rows) == 4
    assert all(row["completion"].endswith("x") and row["rejected"].endswith("y") for row in rows)
    assert [row["preference"] for row in rows] == [0.75, 1.0, 1.0, 1.0]
    from response_tuning.data.sources.load_examples import load_examples

    assert [example.prompt for example in load_examples(str(path))] == [f"prompt {number}" for number in range(4)]


def test_annotations_are_read_by_our_own_reader(store: Store, tmp_path: Path) -> None:
    (path,) = export_rating(store, tmp_path / "annotations.json", "alpaca-eval")
    annotations = read_annotations(path)
    assert [each.preference for each in annotations] == [1.25, 1.0, 1.0, 1.0]
    assert {(each.generator_1, each.generator_2) for each in annotations} == {RUNS}


def test_the_viewer_of_comparisons_gets_its_fields(store: Store, tmp_path: Path) -> None:
    (path,) = export_rating(store, tmp_path / "comparison.json", "llm-comparator")
    content = json.loads(path.read_text())
    assert content.keys() == {"metadata", "models", "examples"}
    assert [model["name"] for model in content["models"]] == [*RUNS]
    first = content["examples"][0]
    assert first["score"] == 0.5 and [each["score"] for each in first["individual_rater_scores"]] == [1.0, 0.0]
    assert first["output_text_a"].endswith("x") and isinstance(first["tags"], list)


def test_three_runs_have_a_file_for_each_pair(tmp_path: Path) -> None:
    store = make_rating(tmp_path, runs=["a", "b", "c"], responses=[["1", "2", "2 "], ["1", "2", "3"]])
    vote_all(store)
    paths = export_rating(store, tmp_path / "out.json", "alpaca-eval")
    assert [path.name for path in paths] == ["out-1.json", "out-2.json", "out-3.json"]
    assert read_annotations(paths[2])[0].preference == 1.5  # identical responses are a tie
    store.close()


def test_a_log_for_inspect_has_the_mean_of_all_raters(store: Store, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log")
    paths = export_rating(store, tmp_path / "log.eval", "inspect")
    read = log.read_eval_log(str(paths[0]))
    assert read.eval.model == "alpha" and read.results.scores[0].metrics["mean"].value == 1.0
    assert len(read.samples) == 4


def test_an_export_of_nothing_is_an_error(tmp_path: Path) -> None:
    store = make_rating(tmp_path)
    for to in ("votes", "pairs", "alpaca-eval", "llm-comparator", "inspect"):
        with pytest.raises(UserError, match=r"no votes yet|no preferences yet|preferred one yet"):
            export_rating(store, tmp_path / "out", to)
    store.close()


def test_judge_and_probe_are_held_against_people(store: Store, tmp_path: Path) -> None:
    for run, letter in (("alpha", "x"), ("beta", "y")):
        rows = [
            {
                "prompt": f"prompt {number}",
                "response": f"response {number} of letter {letter}\n" if number < 3 else "another response",
                "values": {"follows": float(run == "alpha" or number == 1), "loops": float(run == "beta")},
            }
            for number in range(4)
        ]
        write_json_lines(tmp_path / run / "evaluations" / "probe" / "responses.jsonl", rows)
    judged = [
        {
            "instruction": f"prompt {number}",
            "output_1": f"response {number} of letter y",
            "generator_1": "beta",
            "output_2": f"response {number} of letter x",
            "generator_2": "alpha",
            "annotator": "some judge",
            "preference": 2.0 if number else 1.0,
        }
        for number in range(4)
    ]
    write_json(tmp_path / "judged.json", judged)
    summary = rating_summary(store, annotations=[tmp_path / "judged.json"])
    follows, loops = sorted(summary.proxies, key=lambda proxy: proxy.measure)
    assert (follows.measure, follows.n) == ("probe: follows", 6)  # the response to the fourth prompt is another one
    assert follows.agreement is not None and follows.agreement.value == pytest.approx(5 / 6, abs=1e-4)
    assert follows.excess is not None and follows.excess.value == pytest.approx(1 / 6, abs=1e-4)
    assert follows.bins == ((0.0, 0.0, 2), (1.0, 0.75, 4))
    assert loops.measure == "probe: loops, reversed" and loops.auc is not None and loops.auc.value == 1.0
    # On prompt 0 people are divided equally between alpha and a tie: no verdict.
    (judge,) = summary.judges
    assert (judge.judge, judge.pairs, judge.agreement.value) == ("some judge", 3, 1.0)


def test_a_measure_on_a_scale_has_an_area_and_a_calibration() -> None:
    items = [Item(str(number), float(number % 5), float(number % 5 > 2)) for number in range(50)]
    proxy = measure_proxy("just: helpfulness", items)
    assert proxy is not None and proxy.auc is not None and proxy.auc.value == 1.0 and proxy.agreement is None
    assert [accepted for _, accepted, _ in proxy.bins] == sorted(accepted for _, accepted, _ in proxy.bins)
    chance = measure_proxy("noise", [Item(str(n), float(n % 2), float(n // 2 % 2)) for n in range(200)])
    assert chance is not None and chance.auc is not None and chance.kappa is not None
    assert chance.auc.value == 0.5 and chance.auc.low < 0.5 < chance.auc.high
    assert abs(chance.kappa.value) < 0.01
    assert measure_proxy("undecided", [Item("1", 1.0, 0.5)]) is None
    assert judge_agreement("none", []) is None
