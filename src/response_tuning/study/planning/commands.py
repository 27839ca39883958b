"""Options as the words of a command, validated as the command itself does."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from response_tuning.support.commands import typed_options
from response_tuning.support.configuration import explain

__all__ = ["option_words", "validated"]


def option_words(config: type[BaseModel], options: Mapping[str, Any]) -> list[str]:
    """Options in the form that is typed: positional ones first, by their order in ``config``."""
    positional = [name for name, field in config.model_fields.items() if _is_positional(field.metadata)]
    given = [str(options[name]) for name in positional if options.get(name) is not None]
    switches = {
        name: value
        for name, value in options.items()
        # A flag that is off by default cannot be typed as off.
        if name not in positional and not (value is False and config.model_fields[name].default is False)
    }
    return [*given, *typed_options(switches)]


def validated(config: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    """The options as their configuration.

    Raises:
        ValueError: an option does not exist or has a wrong value, in the words of the command line.
    """
    unknown = [name for name in options if name not in config.model_fields]
    if unknown:
        known = ", ".join(name for name in config.model_fields if name not in ("model", "output"))
        raise ValueError(f"there is no option {unknown[0]!r}. There are {known}.")
    try:
        return config.model_validate(dict(options))
    except ValidationError as error:
        raise ValueError(explain(error, config)) from None


def _is_positional(metadata: list[Any]) -> bool:
    return any("POSITIONAL" in str(part).upper() for part in metadata)
