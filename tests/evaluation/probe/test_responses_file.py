"""Responses of a file are measured without a model, by the checks of the rows that they answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.probe.probe import ProbeResult, probe_responses
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.turns import cut_at_turn
from response_tuning.inference.generate import Response
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json_lines

_SUM = {"follows": [{"type": "number"}], "correct": [{"type": "number", "value": 43}]}
_CODE = {"type": "code", "defines": "add", "tests": ["answer(2, 3) == 5"]}
_DATA: list[dict[str, Any]] = [
    {"prompt": "What is 17 plus 26?", "completion": "17 + 26 = 43.", "checks": _SUM},
    {"prompt": "Write add(a, b).", "completion": "def add(a, b): return a + b",
     "checks": {"follows": [_CODE], "correct": [_CODE]}},
    {"prompt": "Why do cats purr?", "completion": "Cats purr because they are content or want comfort."},
]  # fmt: skip
_RESPONSES: list[dict[str, Any]] = [
    {"prompt": "What is 17 plus 26? ", "response": "The answer is 43.\n\nQuestion: And 2 plus 2?"},
    {"prompt": "What is 17 plus 26?", "response": "44.", "stopped": True},
    {"prompt": "Write add(a, b).", "response": "def add(a, b): return a + b", "stopped": False},
    {"prompt": "Why do dogs bark?", "response": "To warn."},
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A data set with checks, and responses to some of it."""
    write_json_lines(tmp_path / "data.jsonl", _DATA)
    write_json_lines(tmp_path / "responses.jsonl", _RESPONSES)
    return tmp_path / "data.jsonl", tmp_path / "responses.jsonl"


def measured(files: tuple[Path, Path], **options: Any) -> ProbeResult:
    """The measures of the responses."""
    return probe_responses(ProbeConfig(data=str(files[0]), responses=files[1], **options))


def test_responses_are_joined_by_prompt_and_others_are_named(
    files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="response_tuning"):
        result = measured(files)
    assert "Why do dogs bark?" in caplog.text
    assert "Why do cats purr?" in caplog.text
    assert "left out of 'correct'" not in caplog.text  # it did not stop, so it is wrong without running
    by_name = {name: (estimate.value, estimate.n) for name, estimate in result.metrics.items()}
    # The first of two responses to the sum continues with an invented turn.
    assert by_name["follows"] == ((0.5 + 1) / 2, 2)
    assert by_name["correct"] == (0, 2)
    assert by_name["stops"] == (0.5, 2)  # unknown for the first
    assert [row["failed"] for row in result.rows] == [["invents turns"], ["correct[0] number"], ["stops"]]


def test_a_response_is_read_up_to_an_invented_turn_too(files: tuple[Path, Path], tmp_path: Path) -> None:
    result = measured(files, cut_at_turn=True, output=tmp_path / "read")
    assert result.rows[0]["response_cut"] == "The answer is 43."
    assert result.rows[0]["values"]["follows"] == 0
    assert result.rows[0]["values"]["correct_cut"] == 1
    saved = json.loads((tmp_path / "read" / "metrics.json").read_text())
    assert saved["metrics"]["follows_cut"]["value"] == 1
    rows = (tmp_path / "read" / "responses.jsonl").read_text().splitlines()
    assert [json.loads(row) for row in rows] == result.rows


@pytest.mark.parametrize(
    ("text", "format_name", "cut"),
    [
        ("Yes.\n\nQuestion: Why?\n\nAnswer: No.", "question-answer", "Yes."),
        ("Yes.\nAnswer: No.", "question-answer", "Yes."),
        ("Yes.\n<|user|>\nWhy?", "tulu", "Yes."),
        ("Yes.\nUser: Why?", "tulu", "Yes.\nUser: Why?"),
        ("Yes.\nUser: Why?", None, "Yes."),
        ("The Question: is it so?", "question-answer", "The Question: is it so?"),
    ],
)
def test_the_cut_is_at_a_marker_of_the_chat_format(text: str, format_name: str | None, cut: str) -> None:
    response = cut_at_turn(Response(text, 9, stopped=False), format_name)
    assert (response.text, response.stopped) == (cut, cut != text)


def test_code_runs_only_when_asked(files: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    write_json_lines(files[1], [{"prompt": "Write add(a, b).", "response": "def add(a, b): return a + b"}])
    with caplog.at_level("INFO", logger="response_tuning"):
        result = measured(files)
    assert "correct" not in result.metrics
    assert "--run-code" in caplog.text
    assert measured(files, run_code=True).metrics["correct"].value == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "a"}', "responses.jsonl:1: has no field 'response'"),
        ('{"prompt": "a", "response": 3}', "field 'response' is a number: 3"),
        ("[]", "is not a JSON object"),
        ('{"prompt": "a", "response": "b"}', "no response to a prompt of"),
        ("", "holds no responses"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_field(files: tuple[Path, Path], row: str, message: str) -> None:
    files[1].write_text(row + "\n")
    with pytest.raises(UserError) as error:
        measured(files)
    assert message in str(error.value)


def test_bad_checks_are_refused_by_line_and_field(files: tuple[Path, Path]) -> None:
    write_json_lines(files[0], [_DATA[2], _DATA[0] | {"checks": {"follows": [{"type": "sum"}], "correct": []}}])
    with pytest.raises(UserError, match=r"data.jsonl:2: field 'checks.follows\[0\].type'"):
        measured(files)


def test_the_command_takes_a_file_instead_of_a_model(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, responses = map(str, files)
    assert main(["probe", "--responses", responses, "--data", data]) == 0
    assert "follows" in capsys.readouterr().out
    assert main(["eval", "probe", "--responses", responses, "--data", data]) == 0
    assert "follows" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["probe"])
    assert "--responses FILE" in " ".join(capsys.readouterr().err.split())
    assert main(["probe", "--responses", responses, "--data", data, "--ranking"]) == 2
    assert "needs a model" in " ".join(capsys.readouterr().err.split())
