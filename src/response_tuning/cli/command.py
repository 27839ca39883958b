"""What one command is: its name, its options, and what it calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console

__all__ = ["Command", "print_result"]


@dataclass(frozen=True)
class Command:
    """One command of the program."""

    name: str
    """What is typed: ``train``, or ``data prepare`` for a command of a group."""
    config: type[BaseModel]
    """Its options."""
    run: Callable[[Any], None]


def print_result(result: object) -> None:
    """Print a result, a line or a table, to standard output."""
    Console(highlight=False).print(result)
