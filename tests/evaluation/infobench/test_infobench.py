"""InFoBench: every requirement is judged on its own, and counted by level, kind and category."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.infobench.infobench import InfobenchResult, evaluate_infobench
from response_tuning.evaluation.infobench.infobench_config import InfobenchConfig
from response_tuning.evaluation.infobench.requirements import load_instructions
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve

ROWS: list[dict[str, Any]] = [
    {
        "id": "user_1",
        "input": "",
        "category": "Baking",
        "instruction": "Write a notice about bread.",
        "decomposed_questions": ["Is it a notice?", "Is it about bread?"],
        "subset": "Easy_set",
        "question_label": [["Format"], ["Content"]],
    },
    {
        "id": "domain_2",
        "input": "Rye, wheat, oats.",
        "category": "Farming",
        "instruction": "Sort the grains and praise one.",
        "decomposed_questions": ["Are they sorted?", "Is one praised?", "Is the praise in rhyme?"],
        "subset": "Hard_set",
        "question_label": [["Content"], ["Content", "Style"], ["Linguistic", "Style"]],
    },
]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "InfoBench.json"
    # The published file has one object a line, whatever its suffix says.
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def config(tmp_path: Path, model: FaultyServer, judge: FaultyServer, **others: object) -> InfobenchConfig:
    values = {"retries": 0, "judge": SERVED, "judge_base_url": judge.url, "offline": True} | others
    return InfobenchConfig.model_validate(
        {"model": SERVED, "base_url": model.url, "output": tmp_path / "out", **values}
    )


def evaluated(config: InfobenchConfig) -> InfobenchResult:
    result = evaluate_infobench(config)
    assert result is not None
    return result


def asked_about(question: str) -> str:
    return section(question, "requirement, as a question about the text")


def decide(question: str, _: int) -> str:
    return verdict(question, "NO" if "rhyme" in asked_about(question) else "YES")


def test_requirements_are_counted_overall_by_level_kind_and_category(tmp_path: Path, prompts: Path) -> None:
    with serve(lambda *_: "Rye bread.") as model, serve(decide) as judge:
        result = evaluated(config(tmp_path, model, judge, prompts=prompts))
        assert sorted(map(asked_about, judge.asked)) == sorted(
            question for row in ROWS for question in row["decomposed_questions"]
        )
        assert any("praise one.\n\nRye, wheat, oats." in question for question in model.asked)
    assert {name: round(ratio.value, 4) for name, ratio in result.ratios.items()} == {
        "drfr": 0.8,
        "drfr, easy": 1.0,
        "drfr, hard": 0.6667,
        "drfr, content": 1.0,
        "drfr, format": 1.0,
        "drfr, linguistic": 0.0,
        "drfr, style": 0.5,
    }
    assert result.ratios["drfr"].n == 2
    by_category = {name: round(ratio.value, 4) for name, ratio in result.categories.items()}
    assert by_category == {"Baking": 1.0, "Farming": 0.6667}
    saved = read_json(tmp_path / "out" / "metrics.json")
    assert saved["metrics"]["drfr"]["value"] == 0.8
    assert [one["category"] for one in saved["metrics"]["by_category"]] == ["Baking", "Farming"]
    rows = read_json_lines(tmp_path / "out" / "responses.jsonl")
    assert rows[1]["values"]["drfr"] == [2, 3]
    assert [one["met"] for one in rows[1]["requirements"]] == [True, True, False]


def test_a_requirement_without_a_verdict_is_left_out_and_asked_again(tmp_path: Path, prompts: Path) -> None:
    def unsure(question: str, before: int) -> str:
        return verdict(question, "PARTLY") if "sorted" in asked_about(question) else decide(question, before)

    with serve(lambda *_: "Rye bread.") as model, serve(unsure) as judge:
        result = evaluated(config(tmp_path, model, judge, prompts=prompts))
        assert result.states == {"judged": 4, "unparsed": 1}
        assert (result.ratios["drfr"].value, result.ratios["drfr, hard"].value) == (0.75, 0.5)
    with serve(lambda *_: "status 400") as model, serve(decide) as judge:
        again = evaluated(config(tmp_path, model, judge, prompts=prompts, retry_unparsed=True))
        assert [*map(asked_about, judge.asked)] == ["Are they sorted?"]
        assert model.asked == []
    assert again.ratios["drfr"].value == 0.8


def test_no_response_and_no_judge_give_no_number(tmp_path: Path, prompts: Path) -> None:
    def answer(question: str, _: int) -> str:
        return "status 400" if "grains" in question else "Bread!"

    with serve(answer) as model, serve(decide) as judge:
        result = evaluated(config(tmp_path, model, judge, prompts=prompts))
        assert result.states == {"judged": 2, "no response": 3}
        assert list(result.ratios) == ["drfr", "drfr, easy", "drfr, content", "drfr, format"]
        without = evaluated(config(tmp_path / "b", model, judge, prompts=prompts).model_copy(update={"judge": None}))
    assert (without.ratios, without.states) == ({}, {"not judged": 2, "no response": 3})


def test_a_dry_run_asks_no_judge_and_says_how_much_would_be_asked(
    tmp_path: Path, prompts: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "infobench", str(model_folder), "--prompts", str(prompts), "--output", str(tmp_path / "out")]
    words += ["--judge", SERVED, "--dry-run", "--max-new-tokens", "4", "--device", "cpu", "--dtype", "float32"]
    with serve(decide) as judge:
        assert main([*words, "--judge-base-url", judge.url]) == 0
        assert judge.asked == []
    printed = capsys.readouterr()
    assert "judging: 5 " in printed.out + printed.err


def test_rows_may_lack_what_only_groups_requirements(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"instruction": "Bake.", "decomposed_questions": ["Is it baked?"]}\n', encoding="utf-8")
    [instruction] = load_instructions(path)
    assert (instruction.prompt, instruction.level, instruction.requirements[0].labels) == ("Bake.", "", ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decomposed_questions": "Is it?"}, r"InfoBench.json row 1: 'decomposed_questions' has to be a list"),
        ({"decomposed_questions": []}, "has to be a list of questions"),
        ({"question_label": [["Format"]]}, "'question_label' has to be a list of labels for each question"),
        ({"instruction": " "}, "has no text in 'instruction'"),
        ({"input": 3}, "'input' is no text: 3"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, prompts: Path, changes: dict[str, Any], message: str) -> None:
    prompts.write_text(json.dumps(ROWS[0] | changes) + "\n", encoding="utf-8")
    with serve(decide) as server, pytest.raises(UserError, match=message):
        evaluate_infobench(config(tmp_path, server, server, prompts=prompts))


def test_another_file_than_the_published_one_is_refused(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "infobench").mkdir()
    prompts.rename(tmp_path / "infobench" / "InfoBench.json")
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    with serve(decide) as server, pytest.raises(UserError, match="is not the file that"):
        evaluate_infobench(config(tmp_path, server, server))
