"""Local files of any usual format as a source of examples."""

from collections.abc import Iterator
from pathlib import Path

from response_tuning.data.sources.fields import rows_from
from response_tuning.data.sources.readers import FORMATS, read_file
from response_tuning.data.sources.source import SourceOptions
from response_tuning.data.sources.text_folder import TEXT_SUFFIXES
from response_tuning.example import Row
from response_tuning.support.records import BadRow

__all__ = ["LocalFile"]


class LocalFile:
    """A file of rows, or a text file with one response or several."""

    help = f"a file ({' '.join([*FORMATS, *TEXT_SUFFIXES])}, gzipped as .gz or not)"

    def accepts(self, spec: str) -> bool:
        """Whether there is such a file."""
        return Path(spec).exists()

    def read(self, spec: str, options: SourceOptions) -> Iterator[Row | BadRow]:
        """The rows of the file."""
        return rows_from(read_file(Path(spec), split_at=options.split_at), options.fields, source=spec)
