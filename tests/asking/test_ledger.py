import json
from pathlib import Path

import pytest

from response_tuning.asking.ledger import open_ledger, read_ledger
from response_tuning.support.errors import UserError

IDENTITY = {"model": "a", "limit": 5}


def test_rows_are_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "1", "state": "refined", "text": "\u00fc\u2028\n"})
    with open_ledger(path, IDENTITY) as ledger:
        assert ledger.rows == {"1": {"key": "1", "state": "refined", "text": "\u00fc\u2028\n"}}


def test_a_later_row_of_a_key_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "1", "state": "error"})
        ledger.add({"key": "1", "state": "refined"})
    assert read_ledger(path, IDENTITY) == {"1": {"key": "1", "state": "refined"}}


@pytest.mark.parametrize("cut", range(1, 60))
def test_whatever_a_kill_leaves_of_the_last_lines_can_be_opened(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "1", "state": "refined"})
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with open_ledger(path, IDENTITY) as ledger:
        assert ledger.rows == {}
        ledger.add({"key": "1", "state": "refined"})
    assert path.read_bytes() == whole


def test_another_identity_is_refused_and_the_difference_shown(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY):
        pass
    with pytest.raises(UserError, match="limit: 5 before, 6 now"), open_ledger(path, {**IDENTITY, "limit": 6}):
        pass


@pytest.mark.parametrize("content", ['{"completion": "An answer."}\n', "Notes\n", "[1]\n"])
def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match="is not a ledger of this command"), open_ledger(path, IDENTITY):
        pass
    assert path.read_text(encoding="utf-8") == content


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with (
        open_ledger(path, IDENTITY),
        pytest.raises(UserError, match="Another process is writing"),
        open_ledger(path, IDENTITY),
    ):
        pass
    with open_ledger(path, IDENTITY):
        pass
    assert [child.name for child in tmp_path.iterdir()] == ["ledger.jsonl"]


def test_every_line_is_json(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "1"})
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"identity": IDENTITY},
        {"key": "1"},
    ]
