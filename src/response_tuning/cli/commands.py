"""Every command, in the order of the help.

The commands of a group are imported when the group is asked for, and a command's options when the command is.
"""

from typing import TYPE_CHECKING

from response_tuning.cli.command import Command
from response_tuning.cli.run_commands import COMMANDS

if TYPE_CHECKING:
    from response_tuning.cli.completion import CompletionConfig

__all__ = ["GROUPS", "commands_of", "every_command"]

GROUPS: dict[str, str] = {
    "data": "Prepare, check and shape training data",
    "eval": "Measure models, with a judge and without",
    "rate": "Let people rate responses, blind",
    "study": "Grids of trainings and evaluations",
}
"""The first words of commands that have two, each with a line for the help."""


def commands_of(group: str) -> dict[str, Command]:
    """The commands of a group by their last word; for "", those of one word.

    A group may be a command itself, which then has the group's name: ``rt rate RUN`` beside ``rt rate report``.
    """
    return {command.name.removeprefix(f"{group} "): command for command in _listed(group)}


def every_command() -> dict[str, dict[str, Command]]:
    """The commands of every group; those of one word are in the group ""."""
    return {group: commands_of(group) for group in ("", *GROUPS)}


def _listed(group: str) -> tuple[Command, ...]:
    if group == "data":
        from response_tuning.cli.data_commands import DATA_COMMANDS

        return DATA_COMMANDS
    if group == "eval":
        from response_tuning.cli.eval_commands import eval_commands

        return eval_commands()
    if group == "rate":
        from response_tuning.cli.rate_commands import RATE_COMMANDS

        return RATE_COMMANDS
    if group == "study":
        from response_tuning.cli.study_commands import STUDY_COMMANDS

        return STUDY_COMMANDS
    return (*COMMANDS, _COMPLETION)


def _completion(config: "CompletionConfig") -> None:
    from response_tuning.cli.completion import completion_script

    print(completion_script(config.shell, every_command()), end="")


_COMPLETION = Command(
    "completion",
    "response_tuning.cli.completion:CompletionConfig",
    _completion,
    "Print a script for completion in a shell",
)
