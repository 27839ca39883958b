"""The contract of a data source: what ``rt data prepare SOURCE`` and ``rt train --data SOURCE`` can read."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from response_tuning.data.sources.fields import Fields
from response_tuning.data.sources.named_layouts import Layout
from response_tuning.example import Row
from response_tuning.support.records import BadRow

__all__ = ["Source", "SourceOptions", "SplitAt"]

SplitAt = Literal["files", "headings"]
"""What becomes a response in text files: each file, or each section under a heading."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How to read a source. A source ignores the options that do not apply to it."""

    fields: Fields = field(default_factory=Fields)
    """Where the instruction and the response are, for rows of any other form than ours."""
    layout: Layout = "auto"
    """The layout of rows, where it is named and not recognised."""
    split_at: SplitAt = "files"
    subset: str | None = None
    """The configuration of a hub data set."""
    split: str = "train"
    revision: str | None = None
    offline: bool = False
    keeps_system: bool = False
    """Whether conversations keep their system message in the field ``system``, besides at the head of a turn."""
    requests: Path | None = None
    """The input file of a batch, for the prompts of its output file."""
    command: str | None = None
    """The command that reads, for errors that name it with the fields to add."""


class Source(Protocol):
    """Where examples come from. The smallest one, in a package of its own::

        class Proverbs:
            help = "proverbs (those of our wiki)"

            def accepts(self, spec: str) -> bool:
                return spec == "proverbs"

            def read(self, spec: str, options: SourceOptions) -> Iterator[Row | BadRow]:
                yield Row("proverbs 1", 1, Example(completion="Make hay while the sun shines."))

    Register it in ``source_registry.py``, or from another package by an entry point::

        [project.entry-points."response_tuning.sources"]
        proverbs = "my_package.proverbs:Proverbs"
    """

    @property
    def help(self) -> str:
        """The specs that it accepts, for ``rt data prepare --help``: a part of a sentence."""

    def accepts(self, spec: str) -> bool:
        """Whether ``spec`` names something that this source reads. Reads and fetches nothing."""

    def read(self, spec: str, options: SourceOptions) -> Iterable[Row | BadRow]:
        """Every row, good and bad, in a fixed order.

        Raises:
            UserError: the data cannot be read or fetched.
        """
