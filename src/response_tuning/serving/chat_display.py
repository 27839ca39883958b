"""The answers of a chat while they come: one after another, or side by side where the terminal is wide enough."""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from response_tuning.serving.job import Event, Failed, Finished, Piece

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Answer", "show"]

_NARROWEST = 32
"""Of a column, in characters."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What would command a terminal: no text of a model may do that."""


@dataclass
class Answer:
    """What one run has answered so far."""

    name: str
    text: str = ""
    ended: Finished | Failed | None = None

    def take(self, event: Event) -> None:
        """Add an event."""
        if isinstance(event, Piece):
            self.text += event.text
        elif self.ended is None:
            self.ended = event

    @property
    def note(self) -> str:
        """What is said below an answer that is not complete; empty for one that is, or is not yet."""
        if isinstance(self.ended, Failed):
            return f"({self.ended.message})"
        if isinstance(self.ended, Finished) and self.ended.reason == "length":
            return f"(cut after {self.ended.token_count} tokens: --max-new-tokens)"
        return ""


def show(answers: Sequence[Answer], events: "SimpleQueue[tuple[str, Event]]", *, interactive: bool) -> None:
    """Print answers as they come, until all have ended.

    Args:
        answers: one for each run, in the order in which they are shown.
        events: what happens, with the name of the run.
        interactive: whether a person watches.
    """
    if len(answers) > 1 and interactive and sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False, markup=False, emoji=False)
        if console.width // len(answers) >= _NARROWEST:
            _side_by_side(answers, events)
            return
    _in_turn(answers, events, interactive=interactive)


def _in_turn(answers: Sequence[Answer], events: "SimpleQueue[tuple[str, Event]]", *, interactive: bool) -> None:
    """Each answer below the last; the first one that has not ended is printed as it comes."""
    by_name = {answer.name: answer for answer in answers}
    for place, answer in enumerate(answers):
        if len(answers) > 1:
            print(f"{'' if place == 0 else chr(10)}{answer.name}:")
        printed = 0
        while True:
            text = answer.text[printed:]
            print(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text) if sys.stdout.isatty() else text, end="", flush=True)
            printed = len(answer.text)
            if answer.ended is not None:
                break
            name, event = events.get()
            by_name[name].take(event)
        failed = isinstance(answer.ended, Failed)
        print(f"{chr(10) if answer.text else ''}{answer.note}" if answer.note and (interactive or failed) else "")


def _side_by_side(answers: Sequence[Answer], events: "SimpleQueue[tuple[str, Event]]") -> None:
    """A column for each answer. While they come, the screen shows as many lines as fit; the whole stays at the end."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, markup=False, emoji=False)
    try:
        with Live(_columns(answers), console=console, transient=True, refresh_per_second=8) as live:
            for _ in _taking(answers, events):
                live.update(_columns(answers))
    finally:
        console.print(_columns(answers))


def _taking(answers: Sequence[Answer], events: "SimpleQueue[tuple[str, Event]]") -> Iterator[None]:
    by_name = {answer.name: answer for answer in answers}
    while any(answer.ended is None for answer in answers):
        name, event = events.get()
        by_name[name].take(event)
        yield


def _columns(answers: Sequence[Answer]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, box=None, padding=(0, 2, 0, 0))
    for answer in answers:
        table.add_column(Text(answer.name, style="bold"), ratio=1, overflow="fold")
    table.add_row(
        *(Text.assemble(answer.text, (f"\n{answer.note}" if answer.note else "", "dim")) for answer in answers)
    )
    return table
