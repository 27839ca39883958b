"""Every command, in the order of the help. Model libraries are loaded in the command that needs them."""

from response_tuning.cli.command import Command
from response_tuning.cli.data_commands import DATA_COMMANDS
from response_tuning.cli.eval_commands import COMPARE_COMMAND, EVAL_COMMANDS, PROBE_COMMAND
from response_tuning.cli.run_commands import CHAT_COMMAND, EXPORT_COMMAND, QUICKSTART_COMMAND, TRAIN_COMMAND

__all__ = ["COMMANDS", "GROUPS", "commands_of"]

GROUPS: dict[str, str] = {
    "data": "Prepare, check and shape training data",
    "eval": "Measure models, with a judge and without",
}
"""The first words of commands that have two, with what the help prints of them."""

COMMANDS: tuple[Command, ...] = (
    QUICKSTART_COMMAND,
    TRAIN_COMMAND,
    PROBE_COMMAND,
    CHAT_COMMAND,
    COMPARE_COMMAND,
    EXPORT_COMMAND,
    *DATA_COMMANDS,
    *EVAL_COMMANDS,
)
"""Every command, in the order of the help."""


def commands_of(group: str) -> dict[str, Command]:
    """The commands of a group by their last word; of no group (""), those of one word."""
    if not group:
        return {command.name: command for command in COMMANDS if " " not in command.name}
    return {
        command.name.removeprefix(f"{group} "): command for command in COMMANDS if command.name.startswith(f"{group} ")
    }
