"""Plain text and Markdown as bare responses: one per file, or one per section."""

import re
from pathlib import Path

from response_tuning.data.sources.folders import files_in
from response_tuning.data.sources.source import SplitAt
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import Records, read_bytes, suffix_of
from response_tuning.support.records import BadRow, Record

__all__ = ["TEXT_SUFFIXES", "read_text", "read_text_folder"]

TEXT_SUFFIXES = (".md", ".txt")

_BLANK_ENDS = re.compile(r"\A(?:[^\S\n]*\n)+|(?:\n[^\S\n]*)+\Z")
_HEADING = re.compile(r"#{1,6}\s")


def read_text_folder(folder: Path, split_at: SplitAt) -> Records:
    """Every .md and .txt file in ``folder`` and the folders below it, but hidden ones, sorted by path.

    Raises:
        UserError: there are none.
    """
    paths = [path for path in files_in(folder) if suffix_of(path) in TEXT_SUFFIXES]
    if not paths:
        raise UserError(f"The folder {folder} holds no .md or .txt files, and no files of rows.")
    for path in paths:
        yield from read_text(path, path.relative_to(folder).as_posix(), split_at)


def read_text(path: Path, name: str, split_at: SplitAt) -> Records:
    """A text file as bare responses, each with ``name`` as its ``source``."""
    try:
        text = read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        yield BadRow(str(path), 1, f"is not UTF-8 at byte {error.start}. Save the file as UTF-8.")
        return
    sections = _sections(text) if split_at == "headings" else [(1, text)]
    for number, section in sections:
        place = f"{path}:{number}"
        if section.strip():
            yield Record(place, number, {"completion": _BLANK_ENDS.sub("", section), "source": name})
        else:
            yield BadRow(place, number, "holds no text")


def _sections(text: str) -> list[tuple[int, str]]:
    """Split Markdown before its headings: (first line, text). A heading without a body joins the next section."""
    lines = text.splitlines(keepends=True)
    sections: list[tuple[int, str]] = []
    start, has_body, in_code = 0, False, False
    for index, line in enumerate(lines):
        in_code ^= line.lstrip().startswith(("```", "~~~"))
        is_heading = not in_code and _HEADING.match(line) is not None
        if is_heading and has_body:
            sections.append((start + 1, "".join(lines[start:index])))
            start, has_body = index, False
        has_body |= not is_heading and bool(line.strip())
    return [*sections, (start + 1, "".join(lines[start:]))]
