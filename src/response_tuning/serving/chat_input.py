"""What is typed into a chat: lines with editing and a history, and commands that begin with a slash."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_state_path

from response_tuning.serving.dialogue import Dialogue
from response_tuning.support.progress import warn

__all__ = ["HELP", "editing", "read_question", "run_command"]

HELP = """\
/help            this list
/turns on|off    keep the dialogue, or answer each question on its own
/system TEXT     a system prompt, put in front of the first question; without TEXT: none
/new             begin another dialogue
/quit            end; so does Ctrl-D
Ctrl-C stops an answer. A line that begins with a space is a question even if a slash follows."""

_COMMAND = re.compile(r"/(?P<name>[A-Za-z]+)(?:\s+(?P<rest>.*))?", re.DOTALL)
_HISTORY_LINES = 1000
_REPLACED = "\N{REPLACEMENT CHARACTER}"


@contextmanager
def editing() -> Iterator[None]:
    """Line editing, and a history that is kept from one chat to the next in the user's state folder."""
    try:
        import readline
    except ImportError:  # a Python that was built without it
        yield
        return
    path = _history_file()
    with suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(_HISTORY_LINES)
    try:
        yield
    finally:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            readline.write_history_file(path)


def read_question(*, interactive: bool) -> str | None:
    """The next line, not stripped; None at the end of the input. Bytes that are no text are replaced, with a warning.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        line = input("\n> " if interactive else "").rstrip("\r\n")
    except EOFError:
        return None
    if _REPLACED in line:
        warn(f"the line holds bytes that are not valid {sys.stdin.encoding or 'UTF-8'}; {_REPLACED} stands for them")
    return line


def run_command(line: str, dialogue: Dialogue) -> str | None:
    """Do what a line that begins with a slash says. Returns what to print; None for a line that is a question.

    Raises:
        EOFError: the command ends the chat.
    """
    match = _COMMAND.fullmatch(line.rstrip())
    if match is None:
        return None
    rest = (match["rest"] or "").strip()
    match match["name"].lower():
        case "help":
            return HELP
        case "quit" | "exit":
            raise EOFError
        case "new":
            dialogue.start_over()
            return "a new dialogue"
        case "system":
            dialogue.system = rest
            return "the system prompt is put in front of the first question" if rest else "no system prompt"
        case "turns" if rest in ("", "on", "off"):
            dialogue.keeps_turns = rest == "on" if rest else not dialogue.keeps_turns
            dialogue.start_over()
            return "the dialogue is kept" if dialogue.keeps_turns else "each question is answered on its own"
        case name:
            return f"there is no command /{name} {rest}".rstrip() + ". /help lists them; a space before it asks it."


def _history_file() -> Path:
    return user_state_path("response-tuning", appauthor=False) / "chat_history"
