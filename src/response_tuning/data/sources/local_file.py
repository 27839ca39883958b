"""Local files of any usual format as a source of examples."""

from collections.abc import Iterator
from pathlib import Path

from response_tuning.data.sources.batch_requests import with_requests
from response_tuning.data.sources.fields import rows_from
from response_tuning.data.sources.readers import FORMATS, read_file
from response_tuning.data.sources.source import SourceOptions
from response_tuning.data.sources.text_folder import TEXT_SUFFIXES
from response_tuning.example import Row
from response_tuning.support.input_files import COMPRESSED
from response_tuning.support.records import BadRow

__all__ = ["LocalFile"]


class LocalFile:
    """A file of rows, a text file with one response or several, or a folder of either."""

    help = (
        f"a file ({' '.join([*FORMATS, *TEXT_SUFFIXES])}, compressed as {' '.join(COMPRESSED)} or not), or a folder of "
        "files of rows (one split) or of texts, which become bare responses"
    )

    def accepts(self, spec: str) -> bool:
        """Whether there is such a file or folder."""
        return Path(spec).exists()

    def read(self, spec: str, options: SourceOptions) -> Iterator[Row | BadRow]:
        """The rows of the file or folder."""
        records = read_file(Path(spec), split_at=options.split_at, split=options.split)
        if options.requests is not None:
            records = with_requests(records, options.requests)
        return rows_from(
            records,
            options.fields,
            source=spec,
            command=options.command,
            layout=options.layout,
            keeps_system=options.keeps_system,
        )
