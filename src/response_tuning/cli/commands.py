"""Every command, in the order of the help. Model libraries are loaded in the command that needs them."""

from pydantic import BaseModel

from response_tuning.cli.command import Command
from response_tuning.cli.data_commands import DATA_COMMANDS
from response_tuning.cli.eval_commands import COMPARE_COMMAND, PROBE_COMMAND, eval_commands
from response_tuning.cli.run_commands import CHAT_COMMAND, EXPORT_COMMAND, QUICKSTART_COMMAND, TRAIN_COMMAND

__all__ = ["COMMANDS", "GROUPS", "commands_of"]


class _DataGroup(BaseModel):
    """Prepare, check and shape training data; rt data COMMAND --help says how."""


class _EvalGroup(BaseModel):
    """Measure models, with a judge and without; rt eval COMMAND --help says how."""


GROUPS: dict[str, type[BaseModel]] = {"data": _DataGroup, "eval": _EvalGroup}
"""The first words of commands that have two, with what the help says of them."""

COMMANDS: tuple[Command, ...] = (
    QUICKSTART_COMMAND,
    TRAIN_COMMAND,
    PROBE_COMMAND,
    CHAT_COMMAND,
    COMPARE_COMMAND,
    EXPORT_COMMAND,
)
"""Every command of one word, in the order of the help."""


def commands_of(group: str) -> tuple[Command, ...]:
    """The commands of a group; for "", those of one word. Only those of "eval" read the registry of evaluations."""
    if group == "eval":
        return eval_commands()
    return DATA_COMMANDS if group == "data" else COMMANDS
