"""The command line: find the command, parse its options, run it, and print what went wrong in one line.

Model libraries are loaded inside the command that needs them, so that ``--help`` answers at once.
"""

import difflib
import errno
import logging
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.listing import group_listing, main_listing
from response_tuning.support.errors import UserError
from response_tuning.support.progress import silence
from response_tuning.support.terminal import set_up_terminal

__all__ = ["main"]

_HELP = {"-h", "--help"}
_FLAGS = {"--quiet", "--verbose", "--debug"}
_FULL_OR_NOT_ALLOWED = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


@dataclass
class _CommandLine:
    """What was typed, without the options that every command has."""

    words: list[str] = field(default_factory=list)
    config_path: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in typed
    set_up_terminal("quiet" if "--quiet" in typed else "verbose" if "--verbose" in typed else "normal")
    try:
        return _run(_command_line(typed))
    except UserError as error:
        return _fail(str(error), debug=debug)
    except OSError as error:
        if error.errno not in _FULL_OR_NOT_ALLOWED:
            raise
        reason = (error.strerror or "").lower()
        return _fail(f"cannot read or write {error.filename or 'the output'}: {reason}.", debug=debug)
    except KeyboardInterrupt:
        _logger().warning("Interrupted. Re-run the same command to resume.")
        return 130


def _run(line: _CommandLine) -> int:
    words = line.words
    if not words or words[0] in _HELP:
        return _print_listing(main_listing(), is_asked_for=bool(words))
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("response-tuning"))
        return 0
    group = words[0] if words[0] in GROUPS else ""
    rest = words[1:] if group else words
    if not rest or (group and rest[0] in _HELP):
        return _print_listing(group_listing(group), is_asked_for=bool(rest))
    commands = commands_of(group)
    if rest[0] not in commands:
        raise UserError(_unknown(rest[0], group))
    from response_tuning.cli.options import parse_options

    command = commands[rest[0]]
    command.run(parse_options(command.config_type, f"rt {command.name}", rest[1:], line.config_path))
    return 0


def _print_listing(listing: str, *, is_asked_for: bool) -> int:
    """Where no command was named, the listing is what is wrong."""
    print(listing, file=sys.stdout if is_asked_for else sys.stderr)
    return 0 if is_asked_for else 2


def _unknown(word: str, group: str) -> str:
    program = f"rt {group}".strip()
    near = difflib.get_close_matches(word, [*commands_of(group), *([] if group else GROUPS)], n=1)
    hint = f" Did you mean '{program} {near[0]}'?" if near else ""
    return f"There is no command '{program} {word}'.{hint} '{program} --help' lists the commands."


def _fail(message: str, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    silence(False)  # a rank that reports nothing else still reports its error
    _logger().error("error: %s", message)
    return 2


def _logger() -> logging.Logger:
    return logging.getLogger("response_tuning")


def _command_line(arguments: list[str]) -> _CommandLine:
    """Take out the options of every command, wherever they were typed.

    Raises:
        UserError: ``--config`` without a file, or both ``--quiet`` and ``--verbose``.
    """
    line = _CommandLine()
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--config" or argument.startswith("--config="):
            name = next(remaining, None) if argument == "--config" else argument.removeprefix("--config=")
            if not name:
                raise UserError("--config needs the name of a YAML file.")
            line.config_path = Path(name)
        elif argument in _FLAGS:
            continue
        else:
            line.words.append(argument)
    if {"--quiet", "--verbose"} <= set(arguments):
        raise UserError("--quiet and --verbose contradict each other.")
    return line


if __name__ == "__main__":
    sys.exit(main())
