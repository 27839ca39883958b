"""Comparisons: of real probes of tiny models, and of small evaluations whose numbers are known."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from response_tuning.cli.main import main
from response_tuning.evaluation.compare.compare import compare
from response_tuning.evaluation.compare.compare_config import CompareConfig
from response_tuning.evaluation.compare.compare_table import comparison_table
from response_tuning.evaluation.probe.probe import METRICS, probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.shared.statistics import estimate_mean, estimate_ratio
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.runs.folder import evaluation_folder
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json, write_json_lines
from tests.conftest import tiny_model
from tests.study.test_report import _Checker

HOSTILE = "<script>alert(1)</script>"


def write_evaluation(run: Path, task: str, rows: list[dict[str, Any]], **settings: Any) -> str:
    """An evaluation as the commands leave it. Returns the run."""
    folder = run / "evaluations" / task
    write_json(folder / "metrics.json", {"metrics": {}, "settings": settings, "format": "tulu"})
    write_json_lines(folder / "responses.jsonl", rows)
    return str(run)


def rows(values: list[Any], *, metric: str = "score", field: str = "prompt", start: int = 0) -> list[dict[str, Any]]:
    return [{field: f"Prompt {start + place}", "values": {metric: value}} for place, value in enumerate(values)]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, tokenizer: Any) -> tuple[str, str]:
    """Two tiny models, each probed into a folder of its own."""
    folder = tmp_path_factory.mktemp("probed")
    other = folder / "other-model"
    tiny_model(tokenizer, seed=1).save_pretrained(other)
    tokenizer.save_pretrained(str(other))
    for name, model in (("one", model_folder), ("two", other)):
        probe(
            ProbeConfig(
                model=str(model),
                output=folder / name / "evaluations" / "probe",
                max_examples=8,
                max_new_tokens=6,
                dtype="float32",
                device="cpu",
            )
        )
    return str(folder / "one"), str(folder / "two")


def test_probes_are_compared_prompt_by_prompt_and_keep_their_values(probed: tuple[str, str], tmp_path: Path) -> None:
    output = tmp_path / "compared.json"
    comparison = compare(CompareConfig(runs=probed, output=output))
    assert list(comparison.tasks) == ["probe"]
    compared = comparison.tasks["probe"]
    assert {"stops", "loops", "copies", "on_topic", "responds"} <= set(compared.metrics) <= set(METRICS)
    for name, spec in comparison.runs.items():
        saved = json.loads((Path(spec) / "evaluations" / "probe" / "metrics.json").read_text())["metrics"]
        for metric, values in compared.metrics.items():
            assert vars(values.values[name]) == saved[metric]
    loops = compared.metrics["loops"]
    assert set(loops.differences) == {"two"}
    difference = loops.values["two"].value - loops.values["one"].value
    assert loops.differences["two"].value == pytest.approx(difference, abs=1e-4)
    assert json.loads(output.read_text())["tasks"]["probe"]["metrics"]["loops"]["differences"]["two"]["n"] == 8


def test_the_difference_is_that_of_pairs_whatever_the_order_of_rows(tmp_path: Path) -> None:
    first, second = [0.1, 0.9, 0.4, 0.6], [0.3, 0.9, 0.5, 0.9]
    one = write_evaluation(tmp_path / "one", "just", rows(first, field="instruction"))
    two = write_evaluation(tmp_path / "two", "just", rows(second, field="instruction")[::-1])
    compared = compare(CompareConfig(runs=(one, two))).tasks["just"].metrics["score"]
    assert compared.differences["two"] == estimate_mean([0.2, 0.0, 0.1, 0.3])


def test_prompts_that_not_all_runs_have_are_left_out_and_counted(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "ifeval", rows([1.0, 0.0, 1.0, 1.0]), max_examples=4)
    two = write_evaluation(tmp_path / "two", "ifeval", rows([0.0, 0.0, 1.0], start=1), max_examples=None)
    compared = compare(CompareConfig(runs=(one, two))).tasks["ifeval"]
    assert compared.prompts == 3
    assert compared.left_out == {"one": 1, "two": 0}
    assert compared.metrics["score"].differences["two"].n == 3
    assert compared.metrics["score"].differences["two"].value == round(-1 / 3, 4)


def test_the_same_text_in_two_sets_and_twice_in_one_are_different_prompts(tmp_path: Path) -> None:
    def answered(values: list[float]) -> list[dict[str, Any]]:
        tasks = ["piqa", "piqa", "arc_easy"]
        return [{"task": t, "prompt": "Same?", "values": {"acc": v}} for t, v in zip(tasks, values, strict=True)]

    one = write_evaluation(tmp_path / "one", "core", answered([0.0, 1.0, 0.0]))
    two = write_evaluation(tmp_path / "two", "core", answered([0.5, 1.0, 0.0]))
    compared = compare(CompareConfig(runs=(one, two))).tasks["core"]
    assert compared.prompts == 3
    assert compared.metrics["acc"].differences["two"] == estimate_mean([0.5, 0.0, 0.0])


def test_a_ratio_is_compared_as_a_ratio_and_only_where_every_run_has_it(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "ifeval", [*rows([[1, 1], [0, 3], [1, 2]]), {"prompt": "X", "values": {}}])
    two = write_evaluation(tmp_path / "two", "ifeval", [*rows([[0, 1], [3, 3], [1, 2]]), *rows([1.0], start=3)])
    compared = compare(CompareConfig(runs=(one, two))).tasks["ifeval"].metrics["score"]
    assert compared.values["one"] == estimate_ratio([1, 0, 1], [1, 3, 2])
    assert compared.differences["two"].value == round(4 / 6 - 2 / 6, 4)


def test_three_runs_are_each_compared_with_the_first_on_the_evaluations_of_all(tmp_path: Path) -> None:
    runs = [
        write_evaluation(tmp_path / name, "just", rows([value, value + 1.0]))
        for name, value in (("base", 1.0), ("rt", 2.0), ("it", 3.0))
    ]
    write_evaluation(tmp_path / "rt", "alpaca", rows([1.0]))
    comparison = compare(CompareConfig(runs=tuple(runs)))
    assert list(comparison.tasks) == ["just"]
    assert comparison.missing == {"alpaca": ["base", "it"]}
    differences = comparison.tasks["just"].metrics["score"].differences
    assert {name: estimate.value for name, estimate in differences.items()} == {"rt": 1.0, "it": 2.0}


def test_what_is_not_compared_is_said_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_evaluation(tmp_path / name, "just", rows([1.0, 2.0])) for name in ("one", "two", "three")]
    write_evaluation(tmp_path / "two", "ifeval", rows([1.0]))
    for name in ("two", "three"):
        write_evaluation(tmp_path / name, "core", rows([1.0]))
    assert main(["compare", *runs]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["not compared: core, which one lacks", "not compared: ifeval, which one and three lack"]
    assert main(["compare", *runs, "--tasks", "just"]) == 0
    assert "not compared" not in capsys.readouterr().out


def test_runs_with_the_same_last_name_keep_their_whole_names(tmp_path: Path) -> None:
    runs = [write_evaluation(tmp_path / study / "rt", "just", rows([1.0])) for study in ("a", "b")]
    assert list(compare(CompareConfig(runs=tuple(runs))).runs) == runs


def test_settings_that_change_the_answers_must_agree_and_others_need_not(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "just", rows([1.0]), max_new_tokens=64, judge="a", batch_size=1)
    two = write_evaluation(tmp_path / "two", "just", rows([1.0]), max_new_tokens=128, judge="a", batch_size=40)
    with pytest.raises(UserError, match="different settings:\n  max_new_tokens: 64 in one, 128 in two\nEvaluate"):
        compare(CompareConfig(runs=(one, two)))
    for run in (one, two):
        write_evaluation(Path(run), "ifeval", rows([1.0]))
    assert list(compare(CompareConfig(runs=(one, two), tasks=("ifeval",))).tasks) == ["ifeval"]


def test_probes_of_different_sets_are_refused(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "probe", rows([1.0, 0.0]))
    two = write_evaluation(tmp_path / "two", "probe", rows([1.0]))
    with pytest.raises(UserError, match=r"two had another set of them than one \(1 and 2 prompts\)"):
        compare(CompareConfig(runs=(one, two)))


def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "just", rows([1.0]))
    with pytest.raises(UserError, match="given twice"):
        compare(CompareConfig(runs=(one, f"{one}/")))
    with pytest.raises(UserError, match="Nothing was measured on"):
        compare(CompareConfig(runs=(one, str(tmp_path / "never"))))
    other = write_evaluation(tmp_path / "other", "alpaca", rows([1.0]))
    with pytest.raises(UserError, match="for all of the runs:\n  one has just\n  other has alpaca"):
        compare(CompareConfig(runs=(one, other)))
    with pytest.raises(UserError, match="--tasks probe is not there"):
        compare(CompareConfig(runs=(one, other), tasks=("probe",)))
    apart = write_evaluation(tmp_path / "apart", "just", rows([1.0], start=7))
    with pytest.raises(UserError, match="no prompt in common"):
        compare(CompareConfig(runs=(one, apart)))
    old = write_evaluation(tmp_path / "old", "just", [{"prompt": "Prompt 0", "score": 1.0}])
    with pytest.raises(UserError, match="no values per prompt"):
        compare(CompareConfig(runs=(one, old)))


def printed(table: object) -> list[list[str]]:
    console = Console(file=StringIO(), width=120)
    console.print(table)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_the_table_has_a_row_per_metric_and_run(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "just", rows([1.0, 3.0]))
    two = write_evaluation(tmp_path / "two", "just", rows([2.0, 4.0]))
    comparison = compare(CompareConfig(runs=(one, two)))
    assert printed(comparison_table(comparison, "just")) == [
        ["score", "one", "2", "2.000 (1.000 to 3.000)", ""],
        ["", "two", "2", "3.000 (2.000 to 4.000)", "+1.000 (+1.000 to +1.000)"],
    ]


def test_the_page_is_well_formed_escaped_and_says_what_is_apart_and_left_out(tmp_path: Path) -> None:
    runs = [
        write_evaluation(tmp_path / name, "just", [*rows(values), *rows([[1, 2]] * 4, metric=HOSTILE)[:4]])
        for name, values in (("one", [1.0, 1.5, 1.2, 1.1]), ("two", [2.0, 2.2, 2.1, 1.9]))
    ]
    write_evaluation(tmp_path / "two", "alpaca", rows([1.0]))
    report = tmp_path / "pages" / "compared.html"
    compare(CompareConfig(runs=tuple(runs), report=report))
    page = report.read_text()
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.loaded == []
    assert HOSTILE not in page
    text = " ".join("".join(checker.text).split())
    assert HOSTILE in text
    assert "1 of 2 differences have an interval that excludes zero" in text
    assert "alpaca: one has no such evaluation." in text
    assert 'class="begins"' in page
    assert page.count(" apart") >= 1


def test_what_does_not_change_a_result_is_no_reason_to_refuse(tmp_path: Path) -> None:
    one = write_evaluation(
        tmp_path / "one", "just", rows([1.0]), model="vllm/a", dtype="bfloat16", base_url=None, concurrency=8, plot=None
    )
    two = write_evaluation(
        tmp_path / "two", "just", rows([1.0]), model="x", dtype="float32", base_url="u", concurrency=1, plot="p.png"
    )
    assert list(compare(CompareConfig(runs=(one, two))).tasks) == ["just"]


def test_an_option_that_an_older_version_did_not_know_counts_as_its_default(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "probe", rows([1.0]), max_new_tokens=128)
    for seed in (0, 1):
        two = write_evaluation(tmp_path / "two", "probe", rows([1.0]), max_new_tokens=128, seed=seed)
        if seed == 0:
            assert list(compare(CompareConfig(runs=(one, two))).tasks) == ["probe"]
        else:
            with pytest.raises(UserError, match="seed: 0 in one, 1 in two"):
                compare(CompareConfig(runs=(one, two)))


def test_rows_are_paired_by_their_reference_too(tmp_path: Path) -> None:
    def judged(value: float, reference: str) -> list[dict[str, Any]]:
        return [{"prompt": "P", "reference": reference, "values": {"win": value}}]

    one = write_evaluation(tmp_path / "one", "alpaca", judged(0.25, "same"), reference="runs/it")
    two = write_evaluation(tmp_path / "two", "alpaca", judged(0.75, "same"), reference="elsewhere/it")
    difference = compare(CompareConfig(runs=(one, two))).tasks["alpaca"].metrics["win"].differences["two"]
    assert difference.value == 0.5
    assert difference.low < difference.value < difference.high <= 1
    other = write_evaluation(tmp_path / "other", "alpaca", judged(1.0, "changed"), reference="runs/it")
    with pytest.raises(UserError, match="no prompt in common"):
        compare(CompareConfig(runs=(one, other)))


def test_selective_answering_is_compared_on_the_same_set_alone(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "selective", rows([1.0, 0.0], metric="quality"))
    two = write_evaluation(tmp_path / "two", "selective", rows([1.0], metric="quality"))
    with pytest.raises(UserError, match="another set of them"):
        compare(CompareConfig(runs=(one, two)))


def test_one_model_is_not_compared_with_itself_and_two_of_one_name_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, weights, value in (("a", b"1", 0.0), ("b", b"2", 1.0), ("copy", b"1", 0.0)):
        folder = tmp_path / name / "model"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
        results = evaluation_folder(str(folder), "just")
        facts = {"settings": {"model": str(folder)}, "fingerprint": model_fingerprint(str(folder))}
        write_json(results / "metrics.json", facts)
        write_json_lines(results / "responses.jsonl", rows([value]))
    first, second, copy = (str(tmp_path / name / "model") for name in ("a", "b", "copy"))
    compared = compare(CompareConfig(runs=(first, second))).tasks["just"].metrics["score"]
    assert compared.differences[second].value == 1
    with pytest.raises(UserError, match="are the same model"):
        compare(CompareConfig(runs=(first, copy)))


def test_results_of_weights_that_have_changed_since_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_evaluation(tmp_path / name, "just", rows([1.0])) for name in ("one", "two")]
    (tmp_path / "two" / "model").mkdir()
    metrics = tmp_path / "two" / "evaluations" / "just" / "metrics.json"
    write_json(metrics, {**json.loads(metrics.read_text()), "fingerprint": "of other weights"})
    compare(CompareConfig(runs=tuple(runs)))
    assert "it has other weights or rules" in " ".join(capsys.readouterr().err.split())


def test_p_values_are_exact_for_proportions_and_adjusted_for_their_number(tmp_path: Path) -> None:
    first, second = [1.0] * 2 + [0.0] * 12, [0.0] * 2 + [1.0] * 12
    both = [
        [{"prompt": str(n), "values": {"answers": v, "length": 10 * v + n}} for n, v in enumerate(values)]
        for values in (first, second)
    ]
    one, two = (write_evaluation(tmp_path / name, "just", own) for name, own in zip(("one", "two"), both, strict=True))
    compared = compare(CompareConfig(runs=(one, two), p_values=True, report=tmp_path / "page.html"))
    metrics = compared.tasks["just"].metrics
    # 2 and 12 of 14 discordant pairs: exact two-sided p 0.0129, times two tests.
    assert metrics["answers"].p_values["two"] == pytest.approx(0.0259, abs=1e-4)
    assert metrics["length"].p_values["two"] == pytest.approx(0.0259, abs=6e-3)
    assert "McNemar" in (tmp_path / "page.html").read_text()
    assert printed(comparison_table(compared, "just"))[1][-1].startswith("0.0")
    without = compare(CompareConfig(runs=(one, two)))
    assert without.tasks["just"].metrics["answers"].p_values == {}


def test_differences_of_ratings_stay_on_their_scale_and_have_a_width(tmp_path: Path) -> None:
    one = write_evaluation(tmp_path / "one", "just", rows([5.0] * 20, metric="depth"))
    two = write_evaluation(tmp_path / "two", "just", rows([5.0] * 20, metric="depth"))
    compared = compare(CompareConfig(runs=(one, two))).tasks["just"].metrics["depth"]
    assert compared.values["one"].high == 5
    assert -1 < compared.differences["two"].low < 0 < compared.differences["two"].high < 1
