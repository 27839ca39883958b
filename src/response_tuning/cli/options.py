"""The options of one command: preset, YAML file and command line into its configuration, by tyro."""

import os
import sys
from contextlib import nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import tyro
from pydantic import BaseModel, ValidationError

from response_tuning.support.configuration import explain, group_type, nest, read_values
from response_tuning.training.presets import preset_values

__all__ = ["parse_options"]

_TYRO = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def parse_options(
    config_type: type[BaseModel], program: str, arguments: list[str], config_path: Path | None
) -> BaseModel:
    """The configuration of a command.

    Args:
        config_type: its options.
        program: what was typed before the options, such as ``rt train``.
        arguments: the options.
        config_path: a YAML file with more options; those of the command line override them.

    Raises:
        UserError: the YAML file cannot be used.
        SystemExit: with code 2 where options are wrong, with 0 after ``--help``. For a value out of bounds tyro would
            print pydantic's message for programmers; ours is printed instead.
    """
    default = _default(config_type, config_path, arguments)
    shown, printed = StringIO(), StringIO()
    try:
        # tyro colours what it prints if standard output is a terminal, also errors that go to a file.
        with redirect_stdout(shown) if _is_plain() else nullcontext(), redirect_stderr(printed):
            return tyro.cli(
                config_type,
                prog=program,
                args=arguments,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=_TYRO,
            )
    except SystemExit as exit_:
        sys.stdout.write(shown.getvalue())
        wrong = _validation_error(exit_)
        sys.stderr.write(printed.getvalue() if wrong is None else f"error: {explain(wrong, config_type)}\n")
        raise


def _is_plain() -> bool:
    """Whether help and errors have to do without colours: https://no-color.org, or a stream that is no terminal."""
    return bool(os.environ.get("NO_COLOR")) or not (sys.stdout.isatty() and sys.stderr.isatty())


def _validation_error(error: BaseException | None) -> ValidationError | None:
    """The error of pydantic that led to ``error``, if one did."""
    while error is not None and not isinstance(error, ValidationError):
        error = error.__cause__ or error.__context__
    return error


def _default(config_type: type[BaseModel], path: Path | None, arguments: list[str]) -> BaseModel | None:
    """What a preset and the file set; a required option that neither sets has to come from the command line."""
    values = read_values(path, config_type) if path else {}
    if "preset" in config_type.model_fields:
        typed = preset_values(_value_of("--preset", arguments))
        values = {**preset_values(values.get("preset")), **values, **typed}
    if not values:
        return None
    nested = {
        name: group.model_construct(**value) if (group := group_type(config_type.model_fields[name])) else value
        for name, value in nest(config_type, values).items()
    }
    missing = {
        name: tyro.MISSING
        for name, field in config_type.model_fields.items()
        if field.is_required() and name not in nested
    }
    return config_type.model_construct(None, **nested, **missing)


def _value_of(option: str, arguments: list[str]) -> str | None:
    """The value that an option has on the command line, as ``--option value`` or ``--option=value``."""
    for position, argument in enumerate(arguments):
        if argument == option:
            return arguments[position + 1] if position + 1 < len(arguments) else ""
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
    return None
