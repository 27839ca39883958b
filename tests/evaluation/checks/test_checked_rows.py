"""The field ``checks`` of rows: kept by commands that copy rows, and validated where rows are checked or measured."""

from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.checks.checked_rows import checks_problem, load_checked_examples
from response_tuning.example import Example
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json_lines

_CHECKS = {"follows": [{"type": "number"}], "correct": [{"type": "number", "value": 43}]}
_ROWS: list[dict[str, Any]] = [
    {"prompt": "What is 17 plus 26?", "completion": "17 and 26 make 43.", "checks": _CHECKS},
    {"prompt": "Why do cats purr?", "completion": "Cats purr because they are content or want comfort."},
]


def test_commands_that_copy_rows_keep_their_checks(tmp_path: Path) -> None:
    data, prepared, cleaned = (str(tmp_path / f"{name}.jsonl") for name in ("data", "prepared", "cleaned"))
    write_json_lines(Path(data), _ROWS)
    assert main(["data", "prepare", data, "--output", prepared]) == 0
    assert main(["data", "check", prepared, "--model", "none", "--fix", cleaned]) == 0
    assert read_json_lines(Path(cleaned)) == _ROWS
    checked = load_checked_examples(cleaned)
    assert [checks is not None for checks in checked.checks] == [True, False]


def test_bad_checks_are_a_warning_of_a_data_set_and_an_error_of_an_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.jsonl"
    write_json_lines(data, [_ROWS[1], _ROWS[0] | {"checks": {"follows": [], "correct": [{"type": "sum"}]}}])
    assert main(["data", "check", str(data), "--model", "none"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "bad-checks" in shown
    assert "data.jsonl:2" in shown
    with pytest.raises(UserError, match=r"data.jsonl:2: field 'checks.correct\[0\].type'"):
        load_checked_examples(str(data))


@pytest.mark.parametrize("checks", [[], "long", {"follows": []}, {"follows": [], "correct": [], "style": []}])
def test_a_field_of_another_form_is_a_problem(checks: object) -> None:
    assert "field 'checks" in str(checks_problem(Example(completion="Yes.", checks=checks)))
    assert checks_problem(Example(completion="Yes.", checks=_CHECKS)) is None
    assert checks_problem(Example(completion="Yes.")) is None
