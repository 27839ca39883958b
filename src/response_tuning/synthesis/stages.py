"""The successive asks of one command: they share a ledger, and a row that came to nothing goes no further."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from response_tuning.asking.ask import Question
from response_tuning.asking.ask_once import MakeRow, stage
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.ledger import Row

__all__ = ["Stages", "still_open"]


class _HasState(Protocol):
    state: str


Work = TypeVar("Work", bound=_HasState)


@dataclass(frozen=True)
class Stages:
    """Where the answers of a command are, and how it asks."""

    path: Path
    """The ledger."""
    identity: dict[str, Any]
    """As ``ask_once``."""
    options: AskOptions

    def ask(
        self, name: str, questions: Sequence[Question], make_row: MakeRow, *, model: str | None = None
    ) -> list[Row] | None:
        """One ask (``asking.ask_once.stage``), of another model if ``model`` names one."""
        options = self.options if model is None else self.options.model_copy(update={"model": model})
        return stage(name, questions, self.path, self.identity, options, make_row)


def still_open(works: Sequence[Work]) -> list[Work]:
    """Those whose state is not decided: it is empty as long as the next step is open."""
    return [work for work in works if not work.state]
