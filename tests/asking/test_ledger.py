import json
import os
import re
import resource
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
    record = read_ledger(path, IDENTITY)
    assert record is not None
    assert record.latest == {"1": {"key": "1", "state": "refined"}}
    assert len(record.rows) == 2


def test_ledger_cut_in_a_character_or_anywhere_else_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    row = {"key": "1", "state": "refined", "answer": "\u8336\u662f\u70ed\u7684\U0001f375\u00e9\u2028"}
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "0", "answer": "\u8336"})
        ledger.add(row)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        record = read_ledger(path, IDENTITY)
        complete = whole[:end].count(b"\n")
        assert len(record.rows if record else ()) == max(0, complete - 1)
        with open_ledger(path, IDENTITY) as ledger:
            assert len(ledger.rows) == max(0, complete - 1)
            for missing in [{"key": "0", "answer": "\u8336"}, row][len(ledger.rows) :]:
                ledger.add(missing)
        assert path.read_bytes() == whole


def test_ledger_on_a_full_disk_keeps_whole_lines_alone(tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk: a write beyond it is cut short, as there."""
    path = tmp_path / "ledger.jsonl"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "0", "answer": "\u8336" * 20})
        kept = path.read_bytes()
        for room in range(1, 40, 3):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + room, before[1]))
            try:
                with pytest.raises(OSError, match=re.escape(str(path))):
                    ledger.add({"key": "1", "answer": "\u8336" * 20})
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert path.read_bytes() == kept
        ledger.add({"key": "1"})
    record = read_ledger(path, IDENTITY)
    assert record is not None
    assert list(record.latest) == ["0", "1"]


def test_ledger_with_a_damaged_line_keeps_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY) as ledger:
        ledger.add({"key": "0"})
    with path.open("ab") as file:
        file.write(b"\0\0\0\xff\n[1]\n" + b'{"key": "1"}\n')
    record = read_ledger(path, IDENTITY)
    assert record is not None
    assert list(record.latest) == ["0", "1"]
    assert "2 lines cannot be read and are ignored" in " ".join(capsys.readouterr().err.split())


def test_ledger_of_an_earlier_version_may_name_more_than_counts_now(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, {**IDENTITY, "base_url": "http://127.0.0.1:1"}) as ledger:
        ledger.add({"key": "0"})
    record = read_ledger(path, IDENTITY)
    assert record is not None
    assert record.identity["base_url"] == "http://127.0.0.1:1"


def test_another_identity_is_refused_and_the_difference_shown(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with open_ledger(path, IDENTITY):
        pass
    with pytest.raises(UserError, match="limit: 5 before, 6 now"), open_ledger(path, {**IDENTITY, "limit": 6}):
        pass


@pytest.mark.parametrize("content", ['{"completion": "An answer."}\n', "Notes\n", "[1]\n", "Notes", '{"a": 1}'])
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


def test_a_row_is_on_disk_when_it_has_been_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: written.append(os.fstat(descriptor).st_size))
    with open_ledger(tmp_path / "ledger.jsonl", {"judge": "a"}) as ledger:
        ledger.add({"key": "one"})
        assert written[-1] == (tmp_path / "ledger.jsonl").stat().st_size
    assert len(written) == 2  # the first line, and the row
