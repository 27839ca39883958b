"""Excel workbooks, with the package openpyxl."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.sources.readers import read_file
from response_tuning.support.errors import UserError
from response_tuning.support.records import Record

openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed: pip install 'response-tuning[excel]'")


def workbook(path: Path, **sheets: list[list[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def values(path: Path) -> list[Any]:
    return [row.value for row in read_file(path) if isinstance(row, Record)]


@pytest.mark.parametrize("name", ["a.xlsx", "a.xlsm", "a.csv", "a"])
def test_case_06_a_workbook_is_read_as_its_csv_file_would_be(tmp_path: Path, name: str) -> None:
    rows: list[list[Any]] = [
        ["question", "reply", None],
        ["H\u00e4?", "\u8336 \U0001f375\nja", None],
        [None] * 3,
        ["Two?", "2", None],
    ]
    path = workbook(tmp_path / "a.xlsx", Data=rows, Empty=[]).rename(tmp_path / name)
    assert values(path) == [
        {"question": "H\u00e4?", "reply": "\u8336 \U0001f375\nja"},
        {"question": "Two?", "reply": "2"},
    ]
    assert [row.place for row in read_file(path)] == [f"{path} row 2", f"{path} row 4"]


def test_cells_that_are_no_texts_are_written_as_texts(tmp_path: Path) -> None:
    cells = [7, 7.0, 0.5, True, date(2026, 1, 31), datetime(2026, 1, 31, 12, 30), None, "=1+1", "007"]
    path = workbook(tmp_path / "a.xlsx", Data=[[f"c{number}" for number in range(len(cells))], cells])
    (row,) = values(path)
    expected = ["7", "7", "0.5", "TRUE", "2026-01-31", "2026-01-31T12:30:00", None, None, "007"]
    assert [row.get(f"c{number}") for number in range(len(cells))] == expected


def test_what_cannot_be_one_table_is_refused_by_name(tmp_path: Path) -> None:
    rows = [["a"], ["1"]]
    with pytest.raises(UserError, match=r"rows in several sheets \(One, Two\)\. Save the one to use"):
        values(workbook(tmp_path / "a.xlsx", One=rows, Two=rows))
    with pytest.raises(UserError, match="names the column 'a' twice"):
        values(workbook(tmp_path / "b.xlsx", One=[["a", "a"], ["1", "2"]]))
    whole = (tmp_path / "b.xlsx").read_bytes()
    (tmp_path / "c.xlsx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError):
        values(tmp_path / "c.xlsx")


def test_a_table_that_only_has_the_name_of_a_workbook_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("question;reply\nq;a\n", encoding="utf-8")
    assert values(tmp_path / "a.xlsx") == [{"question": "q", "reply": "a"}]
