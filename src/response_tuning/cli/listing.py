"""``rt --help`` and ``rt GROUP --help``: the commands with one line each, on one screen.

Written here and not by tyro, which would need the options of every command to list their names.
"""

import textwrap
from itertools import zip_longest

from response_tuning.cli.commands import GROUPS, commands_of

__all__ = ["group_listing", "main_listing"]

_WIDTH = 79
_COLUMN = 16

_OPTIONS = {
    "--config FILE": "Read options from a YAML file; the command line overrides it",
    "--threads N": "Compute with N threads on the processor",
    "--quiet": "Warnings only; --verbose: libraries too; --debug: tracebacks",
}


_ITSELF = "RUN [RUN ...]"
"""What follows a group that is a command itself."""


def main_listing() -> str:
    """The first screen: at most 24 lines of 80 columns."""
    commands = [_line(name, command.line) for name, command in commands_of("").items()]
    groups = [_line(f"{group} COMMAND", f"{what}: rt {group} --help") for group, what in GROUPS.items()]
    return "\n".join(
        [
            "Fine-tune a base language model on responses alone, beside instruction tuning.",
            "usage: rt COMMAND [options]      rt COMMAND --help describes its options",
            "",
            *commands,
            *groups,
            "",
            "Options of every command, anywhere on the command line (and rt --version):",
            *(_line(name, what) for name, what in _OPTIONS.items()),
        ]
    )


def group_listing(group: str) -> str:
    """The commands of a group."""
    named = {name if name != group else _ITSELF: command for name, command in commands_of(group).items()}
    commands = [_line(name, command.line, column=20) for name, command in named.items()]
    usage = f"usage: rt {group} COMMAND [options]      rt {group} COMMAND --help describes its options"
    return "\n".join([f"{GROUPS[group]}.", usage, "", *commands])


def _line(name: str, what: str, *, column: int = _COLUMN) -> str:
    wrapped = textwrap.wrap(what, _WIDTH - column - 2)
    return "\n".join(f"  {start:{column}}{line}" for start, line in zip_longest([name], wrapped, fillvalue=""))
