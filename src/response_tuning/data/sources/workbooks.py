"""Excel workbooks (.xlsx, .xlsm), with openpyxl."""

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from response_tuning.support.errors import UserError
from response_tuning.support.input_files import Records
from response_tuning.support.progress import say
from response_tuning.support.records import Record

__all__ = ["holds_workbook", "read_workbook"]

_ZIP = b"PK\x03\x04"


def holds_workbook(path: Path) -> bool:
    """Whether a file is an Excel workbook, whatever its name."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def read_workbook(path: Path) -> Records:
    """The rows of a workbook's one sheet with rows, as those of a CSV file: all cells are texts, empty ones missing.

    The first row names the columns. A formula has the value that Excel saved.

    Raises:
        UserError: openpyxl is missing, the file is damaged, several sheets have rows, or a column is named twice.
    """
    if find_spec("openpyxl") is None:
        raise UserError(
            f"{path} is an Excel workbook. Save its sheet as CSV UTF-8 and name that file, or install the package "
            "openpyxl to read it: pip install 'response-tuning[excel]'."
        )
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()), read_only=True, data_only=True)
        filled = {sheet.title: rows for sheet in book.worksheets if (rows := list(_filled_rows(sheet)))}
    except Exception as error:  # whatever its XML breaks
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is an Excel workbook that is damaged or protected ({reason}). Save its sheet as CSV UTF-8 and "
            "name that file."
        ) from error
    if len(filled) > 1:
        raise UserError(
            f"{path} has rows in several sheets ({', '.join(filled)}). Save the one to use as a workbook or as CSV "
            "UTF-8, and name that file."
        )
    for title, rows in filled.items():
        say(f"{path}: read the sheet {title!r}")
        yield from _records(path, rows)


def _filled_rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        texts = [_text(cell) for cell in cells]
        if any(texts):
            yield number, texts


def _text(cell: object) -> str:
    """A cell as Excel would write it into a CSV file, but for dates, which are written as ISO 8601 has them."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)


def _records(path: Path, rows: list[tuple[int, list[str]]]) -> Iterator[Record]:
    header = [name.strip() for name in rows[0][1]]
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} names the column {twice!r} twice.")
    width = max(len(cells) for _, cells in rows)
    header += [""] * (width - len(header))
    filled = [any(place < len(cells) and cells[place] for _, cells in rows[1:]) for place in range(width)]
    if unnamed := sum(has_cells and not name for has_cells, name in zip(filled, header, strict=True)):
        say(f"{path}: not used: {unnamed} columns without a name")
    for number, cells in rows[1:]:
        value = {name: cell for name, cell in zip(header, cells, strict=False) if name and cell}
        yield Record(f"{path} row {number}", number, value)
