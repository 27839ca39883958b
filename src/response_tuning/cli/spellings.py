"""Other spellings of the options of ``rt train``: an objective named as a method."""

from collections.abc import Iterator

__all__ = ["training_arguments"]

_RENAMED = {"--loss": "--preference-loss"}


def training_arguments(arguments: list[str]) -> list[str]:
    """The arguments with an objective in place of a method that names one; any others as they are.

        --method self-judge                         --objective self-judge --method it
        --method preference --loss dpo              --method it --preference-loss dpo
        --method preference --loss dpo --rt         --method rt --preference-loss dpo

    ``--loss`` may be left out: dpo.
    """
    split = [part for argument in arguments for part in _parts(argument)]
    named = next((split[place + 1] for place, each in enumerate(split[:-1]) if each == "--method"), None)
    if named == "self-judge":
        return [*_without_method(split), "--objective", "self-judge", "--method", "it"]
    if named != "preference":
        return arguments
    method = "rt" if "--rt" in split else "it"
    rest = [_RENAMED.get(each, each) for each in _without_method(split) if each != "--rt"]
    loss = [] if "--preference-loss" in rest else ["--preference-loss", "dpo"]
    return [*rest, *loss, "--method", method]


def _parts(argument: str) -> tuple[str, ...]:
    """``--option=value`` as two parts, so that both ways of typing are one."""
    option, equals, value = argument.partition("=")
    return (option, value) if equals and option.startswith("--") else (argument,)


def _without_method(arguments: list[str]) -> Iterator[str]:
    parts = iter(arguments)
    for part in parts:
        if part == "--method":
            next(parts, None)
        else:
            yield part
