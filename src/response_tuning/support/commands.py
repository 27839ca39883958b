"""Commands that messages name, as they are typed: quoted, and with flags that the parser accepts."""

import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["command", "typed_options"]


def command(*words: object, options: Mapping[str, Any] | None = None) -> str:
    """A command of this program that can be pasted into a shell.

    Args:
        words: what follows ``rt``: the command's name in separate words, and its arguments.
        options: further options by name (``typed_options``).
    """
    return shlex.join(["rt", *map(str, words), *typed_options(options or {})])


def typed_options(options: Mapping[str, Any]) -> list[str]:
    """Options by name as words of a command line. An option that is None is left out.

    A truth value is a flag, or the flag that turns it off; the parser has that one for options that a preset or a file
    turns on.
    """
    words: list[str] = []
    for name, value in options.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, list | tuple):
            words += [f"--{option}", *map(str, value)] if value else []
        elif value is not None:
            words += [f"--{option}", str(value)]
    return words
