"""What one command is: its name, its options, and what it calls."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from pydantic import BaseModel

__all__ = ["Command", "print_result"]


@dataclass(frozen=True)
class Command:
    """One command of the program.

    The smallest example, a command ``rt words`` whose options are the fields of ``WordsConfig``:

        def _words(config: "WordsConfig") -> None:
            from my_package.words import count_words  # what is heavy to import is imported here

            print_result(count_words(config))

        Command("words", "my_package.words_config:WordsConfig", _words, "Count the words of a data set")
    """

    name: str
    """As typed: ``train``, or ``data prepare`` for a command of a group."""
    config: type[BaseModel] | str | Callable[[], type[BaseModel]]
    """Its options: a pydantic model, or where to import it from ("module:Class"), or a function that makes it.

    ``rt --help`` and other commands are fast because a model given by name is imported only for its own command.
    """
    run: Callable[[Any], None]
    """Called with an instance of ``config``; prints its result."""
    summary: str = ""
    """One line for ``rt --help``. Defaults to the first sentence of the config's docstring."""
    spelled: Callable[[list[str]], list[str]] = list
    """Turns arguments that are spelled in another way into the options of ``config``."""
    instead: Callable[[list[str]], bool] = lambda _arguments: False
    """Does something else for arguments that ask for it, and returns whether it did."""

    @property
    def config_type(self) -> type[BaseModel]:
        """The pydantic model of the options, imported now if it was given by name."""
        if isinstance(self.config, str):
            module, _, name = self.config.partition(":")
            return cast("type[BaseModel]", getattr(import_module(module), name))
        return self.config if isinstance(self.config, type) else self.config()

    @property
    def line(self) -> str:
        """``summary``, or the first line of the config's docstring."""
        return self.summary or (self.config_type.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def print_result(result: object) -> None:
    """Print a result, a line or a table, to standard output."""
    from rich.console import Console

    # A line is never wrapped. No text is markup, in tables neither: names may have brackets.
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(result, soft_wrap=isinstance(result, str))
