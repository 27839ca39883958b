"""A study's report."""

from pathlib import Path

__all__ = ["write_study_report"]


def write_study_report(folder: Path, output: Path | None = None) -> Path:
    """Write the report."""
    return (output or folder / "report") / "index.html"
