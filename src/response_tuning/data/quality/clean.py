"""Write a data set without its defects, and a list of the removed rows."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.data.quality.findings import Finding, QualityReport
from response_tuning.data.sources.json_files import holds_json_lines
from response_tuning.example import Row, check_no_input, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_file, write_json_lines
from response_tuning.support.input_files import BYTE_ORDER_MARK, open_bytes, suffix_of

__all__ = ["check_target", "removed_rows", "write_cleaned"]


def check_target(target: Path, source: str) -> None:
    """Validate the path of the cleaned file before any long work.

    Raises:
        UserError: it does not end in .jsonl, or is the file to check.
    """
    if target.suffix != ".jsonl":
        raise UserError(f"--fix {target} should end in .jsonl, the format that is written.")
    check_no_input(target, source, option="--fix")
    check_no_input(removed_rows(target), source, option="the list of removed rows")


def removed_rows(target: Path) -> Path:
    """The list of removed rows beside a cleaned file."""
    return target.with_suffix(".removed.jsonl")


def write_cleaned(
    config: CheckConfig, target: Path, rows: Sequence[Row], report: QualityReport, defects: dict[int, Finding]
) -> int:
    """Write the rows to keep, and a list of the others; returns the number of rows kept."""
    removed = {position for position, finding in defects.items() if finding.kind in config.remove}
    kept = [row for position, row in enumerate(rows) if position not in removed]
    lines = {row.number for row in kept}
    source = Path(config.source)
    one_a_line = source.is_file() and suffix_of(source) == ".jsonl" and holds_json_lines(source)
    if one_a_line and len({row.number for row in rows}) == len(rows):
        _copy_lines(source, target, lines)
    else:
        write_examples(target, (row.example for row in kept))
    write_json_lines(
        removed_rows(target),
        (asdict(finding) for finding in report.defects if finding.kind in (*config.remove, "unreadable")),
    )
    return len(kept)


def _copy_lines(source: Path, target: Path, numbers: set[int]) -> None:
    """Copy lines byte by byte; only their line endings are normalised."""
    with open_bytes(source) as lines, staged_file(target) as file:
        for number, line in enumerate(lines, start=1):
            if number in numbers:
                file.write(line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n") + b"\n")
