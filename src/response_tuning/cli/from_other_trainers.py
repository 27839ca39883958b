"""``rt train --from-axolotl FILE``: the settings of another trainer as a command of this one, and what is left over."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from response_tuning.training.imported import ImportedSettings

__all__ = ["OPTIONS", "print_translation"]

OPTIONS = {"--from-axolotl": "axolotl", "--from-llama-factory": "llama-factory"}
"""The options of ``rt train`` that translate a file instead of training, with the trainer that wrote it."""


def print_translation(words: list[str]) -> bool:
    """Translate the file that an option of ``rt train`` names, and train nothing.

    Args:
        words: what was typed after ``rt train``.

    Returns:
        Whether there was such an option.

    Raises:
        UserError: the option has no file, further options follow, or the file cannot be read.
    """
    given = [word for word in words if word.partition("=")[0] in OPTIONS]
    if not given:
        return False
    from response_tuning.training.imported import Tool, read_settings

    option, equals, value = given[0].partition("=")
    rest = [word for word in words if word != given[0]]
    path = value if equals else next(iter(rest), "")
    if not path or len(rest) > (0 if equals else 1):
        raise UserError(f"rt train {option} FILE translates a file and takes no other option. Add them to its result.")
    tool = next(name for name in get_args(Tool) if name == OPTIONS[option])
    _print(read_settings(Path(path), tool), Path(path))
    return True


def _print(settings: "ImportedSettings", path: Path) -> None:
    from response_tuning.cli.command import print_result

    print_result(_table(f"{path}: what maps", ("setting", "option"), settings.mapped))
    if settings.unmapped:
        print_result(_table("what does not", ("setting", "why"), settings.unmapped))
    if settings.without_effect:
        say(f"Without effect here, or decided by the program: {', '.join(settings.without_effect)}")
    options = {"output": "runs/mine", **settings.options}
    options.setdefault("tuning", "full")  # as these trainers do without an adapter
    print(command("train", "--method", "it", options=options))
    if settings.unmapped:
        warn(f"{len(settings.unmapped)} settings have no counterpart: check whether they matter before you train.")
    say("Nothing was trained. With --method rt, the same rows are trained without their instructions.")


def _table(title: str, columns: tuple[str, str], rows: "Mapping[str, str]") -> "Table":
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows.items():
        table.add_row(*row)
    return table
