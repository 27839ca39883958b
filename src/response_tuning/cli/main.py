"""The commands: parse, call, print. Every option comes from one pydantic model per command.

Model libraries are loaded inside the command that needs them, so that ``--help`` answers at once.
"""

import errno
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from functools import reduce
from io import StringIO
from operator import or_
from pathlib import Path
from typing import Annotated, Any, cast

import tyro
from pydantic import BaseModel, ValidationError

from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.support.configuration import explain, read_values
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.presets import preset_values

__all__ = ["main"]

_DESCRIPTION = """Response tuning: fine-tune a base language model on responses alone, beside instruction tuning,
and measure what the instructions were worth.

Every command takes --config FILE.yaml, with options by their names; options on the command line come first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        say(f"error: {error}")
        return 2
    except OSError as error:
        if error.errno not in _FULL_OR_NOT_ALLOWED:
            raise
        say(f"error: cannot read or write {error.filename or 'the output'}: {(error.strerror or '').lower()}.")
        return 2
    except KeyboardInterrupt:
        say("Interrupted. The same command goes on with what is missing.")
        return 130
    return 0


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


_TYRO = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def _run(arguments: list[str]) -> None:
    config = _parse(arguments)
    every = (command for group in ("", *GROUPS) for command in commands_of(group))
    next(command.run for command in every if command.config is type(config))(config)


def _parse(arguments: list[str]) -> BaseModel:
    """The configuration of the command that was asked for. tyro exits with code 2 where options are wrong."""
    arguments, config_path = _take_config_option(arguments)
    group = arguments[0] if arguments[:1] and arguments[0] in GROUPS else ""
    if group:
        arguments = arguments[1:]
    choices, program = _choices(group), f"rt {group}".strip()
    if arguments and arguments[0] in choices:  # alone, so that a typo's hint is about this command's options
        chosen = choices[arguments[0]]
        default = _default(chosen, config_path, arguments)
        return _parse_options(chosen, default, f"{program} {arguments[0]}", arguments[1:])
    union = reduce(or_, (Annotated[config, tyro.conf.subcommand(name)] for name, config in choices.items()))
    parsed = tyro.cli(
        cast(Any, union),
        prog=program,
        description=GROUPS[group].__doc__ if group else _DESCRIPTION,
        args=arguments,
        config=_TYRO,
    )
    return cast(BaseModel, parsed)


def _parse_options(
    config_type: type[BaseModel], default: BaseModel | None, program: str, arguments: list[str]
) -> BaseModel:
    """The configuration of a known command. For a value out of bounds tyro prints what pydantic tells programmers."""
    printed = StringIO()
    try:
        with redirect_stderr(printed):
            return tyro.cli(
                config_type,
                prog=program,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=_TYRO,
            )
    except SystemExit as exit_:
        wrong = exit_.__context__
        sys.stderr.write(f"error: {explain(wrong)}\n" if isinstance(wrong, ValidationError) else printed.getvalue())
        raise


def _choices(group: str) -> dict[str, type[BaseModel]]:
    """The commands of a group by their last word; of no group, the commands of one word and the groups."""
    configs = {command.name.removeprefix(f"{group} "): command.config for command in commands_of(group)}
    return configs if group else configs | GROUPS


def _take_config_option(arguments: list[str]) -> tuple[list[str], Path | None]:
    rest: list[str] = []
    path = None
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--config":
            path = next(remaining, None)
            if path is None:
                raise UserError("--config needs the name of a YAML file.")
        elif argument.startswith("--config="):
            path = argument.removeprefix("--config=")
        else:
            rest.append(argument)
    return rest, Path(path) if path is not None else None


def _default(config_type: type[BaseModel], path: Path | None, arguments: list[str]) -> BaseModel | None:
    """What a preset and the file set; a required option that neither sets has to come from the command line."""
    values = read_values(path, config_type) if path else {}
    if "preset" in config_type.model_fields:
        values = {**preset_values(_value_of("--preset", arguments) or values.get("preset")), **values}
    if not values:
        return None
    missing = {
        name: tyro.MISSING
        for name, field in config_type.model_fields.items()
        if field.is_required() and name not in values
    }
    return config_type.model_construct(**values, **missing)


def _value_of(option: str, arguments: list[str]) -> str | None:
    """The value that an option has on the command line, as ``--option value`` or ``--option=value``."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == option:
            return following
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return None


if __name__ == "__main__":
    sys.exit(main())
