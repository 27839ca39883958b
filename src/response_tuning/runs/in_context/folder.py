"""The files of an in-context run: what it answers with. They alone decide its prompt, and a user may edit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.example import Example, read_examples, write_examples
from response_tuning.models.adapter import base_record, recorded_base
from response_tuning.models.fingerprint import is_of_same_model
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_text

__all__ = ["InContextFolder"]


@dataclass(frozen=True)
class InContextFolder:
    """An in-context run's folder."""

    path: Path

    @property
    def demonstrations(self) -> Path:
        """The demonstrations, one a line: with their prompts for ``pairs``; none for ``zero-shot``."""
        return self.path / "demonstrations.jsonl"

    @property
    def preamble(self) -> Path:
        """The text before the demonstrations."""
        return self.path / "preamble.txt"

    @property
    def is_in_context(self) -> bool:
        """Whether the folder is an in-context run."""
        return self.demonstrations.is_file() and self.preamble.is_file() and bool(base_record(self.path))

    def read(self) -> tuple[str, list[Example]]:
        """The preamble and the demonstrations.

        Raises:
            UserError: a file is not readable; names file and line.
        """
        has_rows = bool(self.demonstrations.read_bytes().strip())
        try:
            preamble = self.preamble.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.preamble} is not UTF-8 text: {error}") from error
        return preamble, read_examples(self.demonstrations) if has_rows else []

    def write(self, preamble: str, demonstrations: Sequence[Example]) -> None:
        """Write both; the demonstrations last, by which the folder becomes a run."""
        write_text(self.preamble, preamble)
        write_examples(self.demonstrations, demonstrations)

    def base(self) -> str:
        """The spec of the model that the run answers with.

        Raises:
            UserError: the model changed since the run was made.
        """
        spec = recorded_base(self.path)
        if not is_of_same_model(base_record(self.path).get("weights"), spec):
            raise UserError(f"{spec}, which {self.path} answers with, changed since the run was made. Make it again.")
        return spec
