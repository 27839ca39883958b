"""Files that are whole or not there."""

from pathlib import Path

import pytest

from response_tuning.support.files import read_json_lines, staged_folder, write_json_lines, write_text


class _Interrupted(BaseException):
    """Like KeyboardInterrupt: no subclass of Exception."""


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(NotADirectoryError) as raised:
            write_text(path, "text")
        assert raised.value.filename == str(path.parent)
    with pytest.raises(NotADirectoryError), staged_folder(tmp_path / "file" / "a"):
        pass
    with pytest.raises(IsADirectoryError) as folder:
        write_text(tmp_path, "text")
    assert folder.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_staged_folder_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a" / "target"
    with staged_folder(target) as folder:
        (folder / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert list(target.parent.iterdir()) == [target]


def test_an_interrupted_staged_folder_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(_Interrupted), staged_folder(target) as folder:
        (folder / "new").touch()
        raise _Interrupted
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "old"]


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_json_lines(path, [{"a": 1}, {"a": 2}])
    with path.open("a") as file:
        file.write('{"a": ')
    assert read_json_lines(path) == [{"a": 1}, {"a": 2}]
