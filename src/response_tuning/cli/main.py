"""The command line: find the command, parse its options, run it, and print what went wrong in one line.

Model libraries are loaded inside the command that needs them, so that ``--help`` answers at once.
"""

import difflib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.interrupts import noting_interrupts
from response_tuning.cli.listing import group_listing, main_listing
from response_tuning.support.allocator import set_up_allocator
from response_tuning.support.errors import UserError
from response_tuning.support.files import DISK_IS_FULL
from response_tuning.support.neighbours import set_up_threads, yield_to_others
from response_tuning.support.progress import clock, say, silence
from response_tuning.support.secrets import hide_secrets
from response_tuning.support.terminal import set_up_terminal

__all__ = ["main"]

_HELP = {"-h", "--help"}
_FLAGS = {"--quiet", "--verbose", "--debug"}
_FULL_OR_NOT_ALLOWED = {
    *DISK_IS_FULL,
    errno.EACCES,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
_LONG_SECONDS = 10.0
"""A command that took this long says how long it took."""
_CLOSED_PIPE = 128 + 13
"""The exit code of a program that SIGPIPE ends."""


@dataclass
class _CommandLine:
    """What was typed, without the options that every command has."""

    words: list[str] = field(default_factory=list)
    config_path: Path | None = None
    threads: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 when interrupted, 141 where nobody reads on."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal need not know every character
    try:
        code = _exit_code(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return _CLOSED_PIPE
    return code


def _exit_code(arguments: Sequence[str] | None) -> int:
    typed = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in typed
    set_up_terminal("quiet" if "--quiet" in typed else "verbose" if "--verbose" in typed else "normal")
    try:
        with noting_interrupts() as was_interrupted:
            return _run_or_end(typed, was_interrupted)
    except UserError as error:
        return _fail(str(error), debug=debug)
    except OSError as error:
        if error.errno == errno.EPIPE or error.errno not in _FULL_OR_NOT_ALLOWED:
            raise
        reason = (error.strerror or "").lower()
        return _fail(f"cannot read or write {error.filename or 'the output'}: {reason}.", debug=debug)
    except KeyboardInterrupt:
        _logger().warning("Interrupted. Re-run the same command to resume.")
        return 130


def _run_or_end(typed: list[str], was_interrupted: Callable[[], bool]) -> int:
    """Run a command; an exception that Ctrl-C became in a library is KeyboardInterrupt again."""
    try:
        return _run(_command_line(typed))
    except (UserError, OSError):
        raise
    except Exception as error:
        if was_interrupted():
            raise KeyboardInterrupt from error
        raise


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
    commands = commands_of(group)
    if not rest or (group and rest[0] in _HELP and group not in commands):
        return _print_listing(group_listing(group), is_asked_for=bool(rest))
    if rest[0] not in commands:
        if group not in commands:
            raise UserError(_unknown(rest[0], group))
        rest = [group, *rest]
    command, options, config_path = commands[rest[0]], rest[1:], line.config_path
    if command.instead(options):
        return 0
    from response_tuning.cli.inputs import require_inputs_kept
    from response_tuning.cli.options import parse_options

    if config_path is not None and "config" in command.config_type.model_fields:  # a file of its own kind
        options, config_path = [*options, "--config", str(config_path)], None
    set_up_threads(line.threads)
    set_up_allocator()
    yield_to_others()
    config = parse_options(command.config_type, f"rt {command.name}", command.spelled(options), config_path)
    require_inputs_kept(config, config_path)
    started = monotonic()
    command.run(config)
    if monotonic() - started >= _LONG_SECONDS:
        say(f"rt {command.name} took {clock(monotonic() - started)}.")
    return 0


def _discard_output() -> None:
    """Send what is still buffered nowhere: Python would report it when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        sys.stderr.write(hide_secrets(traceback.format_exc()))
    silence(False)  # a rank that reports nothing else still reports its error
    _logger().error("error: %s", message)
    return 2


def _logger() -> logging.Logger:
    return logging.getLogger("response_tuning")


def _command_line(arguments: list[str]) -> _CommandLine:
    """Take out the options of every command, wherever they were typed.

    Raises:
        UserError: ``--config`` or ``--threads`` without a value or twice, both ``--quiet`` and ``--verbose``, or bytes
            that are no text.
    """
    for argument in arguments:
        if not argument.isascii() and argument != argument.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(f"{os.fsencode(argument)!r} is not valid UTF-8. Rename the file, or type it otherwise.")
    line = _CommandLine()
    remaining = iter(arguments)
    for argument in remaining:
        option, equals, value = argument.partition("=")
        if option in ("--config", "--threads"):
            value = value if equals else next(remaining, "")
            _take(line, option, value)
        elif argument in _FLAGS:
            continue
        else:
            line.words.append(argument)
    if {"--quiet", "--verbose"} <= set(arguments):
        raise UserError("--quiet and --verbose contradict each other.")
    return line


def _take(line: _CommandLine, option: str, value: str) -> None:
    """Keep the value of an option of every command.

    Raises:
        UserError: it has none, or is given twice.
    """
    if option == "--threads":
        if line.threads is not None:
            raise UserError(f"--threads is given twice: {line.threads} and {value}. Name one number.")
        line.threads = value
        return
    if not value:
        raise UserError("--config needs the name of a YAML file.")
    if line.config_path is not None:
        raise UserError(f"--config is given twice: {line.config_path} and {value}. Name one file.")
    line.config_path = Path(value)


if __name__ == "__main__":
    sys.exit(main())
