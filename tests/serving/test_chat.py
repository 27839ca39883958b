"""Chat in the terminal: several runs side by side, dialogues, commands, and input of any kind."""

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from response_tuning.cli.main import main
from response_tuning.example import Turn
from response_tuning.serving.chat_input import run_command
from response_tuning.serving.dialogue import Dialogue
from response_tuning.serving.job import Event, Failed, Job
from response_tuning.serving.served_run import ServedRun
from tests.serving.conftest import NEW_TOKENS, Served

PLAIN = ("--dtype", "float32", "--device", "cpu", "--max-new-tokens", str(NEW_TOKENS))


def chat(monkeypatch: pytest.MonkeyPatch, lines: bytes, *arguments: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8"))
    assert main(["chat", *arguments, *PLAIN]) == 0


def test_several_runs_answer_each_line_with_the_text_that_each_gives_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [f"{name}={spec}" for name, spec in served.runs.items()]
    chat(monkeypatch, b"What is rain?\n\n/help\n", *runs)
    questions = ("What is rain?", "/help")
    expected = ["\n".join(f"{name}:\n{served.expected(name, text)}\n" for name in served.runs) for text in questions]
    assert capsys.readouterr().out == "".join(expected)


def test_bytes_that_are_no_text_are_replaced_with_a_warning(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat(monkeypatch, b"What is a caf\xe9?\r\n", served.runs["rt"])
    printed = capsys.readouterr()
    assert printed.out == served.expected("rt", "What is a caf\N{REPLACEMENT CHARACTER}?") + "\n"
    assert "bytes that are not valid utf-8" in printed.err


@pytest.fixture
def run(served: Served) -> ServedRun:
    return next(run for run in served.loaded if run.name == "rt")


def job_of(dialogue: Dialogue, question: str) -> Job:
    (job,) = dialogue.jobs(question, lambda _name, _event: None)
    return job


def test_a_dialogue_is_kept_only_on_request_and_begins_with_the_system_prompt(run: ServedRun) -> None:
    dialogue = Dialogue([run], 8, system="Be brief.")
    first = [Turn(role="user", content="Be brief.\n\nWhy?")]
    assert job_of(dialogue, "Why?").prompt_ids == run.prompt_ids(first)
    dialogue.remember("Why?", {"rt": "So."})
    alone = job_of(dialogue, "And then?").prompt_ids
    assert alone == run.prompt_ids([Turn(role="user", content="Be brief.\n\nAnd then?")])
    assert run_command("/turns on", dialogue) == "the dialogue is kept"
    dialogue.remember("Why?", {"rt": "So."})
    continued = [*first, Turn(role="assistant", content="So."), Turn(role="user", content="And then?")]
    assert job_of(dialogue, "And then?").prompt_ids == run.prompt_ids(continued)
    run_command("/new", dialogue)
    assert job_of(dialogue, "And then?").prompt_ids == alone
    run_command("/system", dialogue)
    assert job_of(dialogue, "Why?").prompt_ids == run.prompt_ids([Turn(role="user", content="Why?")])


def test_a_question_that_does_not_fit_is_not_asked(run: ServedRun) -> None:
    heard: list[tuple[str, Event]] = []
    dialogue = Dialogue([run], 8, keeps_turns=True)
    assert dialogue.jobs("rain " * 3000, lambda name, event: heard.append((name, event))) == []
    ((name, event),) = heard
    assert name == "rt"
    assert isinstance(event, Failed)
    assert "the model's context has 2,048: shorten it" in event.message
    dialogue.remember("rain " * 3000, {"rt": "So."})
    dialogue.jobs("Why?", lambda name, event: heard.append((name, event)))
    assert "/new begins another dialogue" in str(heard[-1])


@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("/help", "/turns on|off"),
        ("/HELP ", "/turns on|off"),
        ("/hlep", "there is no command /hlep. /help lists them"),
        ("/turns maybe", "there is no command /turns maybe"),
        ("/etc/passwd: what is it?", None),
        ("/ what?", None),
    ],
)
def test_a_line_with_a_slash_is_a_command_or_a_question(line: str, printed: str | None, run: ServedRun) -> None:
    result = run_command(line, Dialogue([run], 8))
    assert result is None if printed is None else printed in str(result)


class Terminal:
    """``rt chat`` in a terminal of its own, 120 characters wide."""

    def __init__(self, *arguments: str, home: Path) -> None:
        self._side, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        size = {"COLUMNS": "120", "LINES": "40"}  # set for a process of pytest-xdist, and stronger than the terminal's
        environment = {**os.environ, **size, "XDG_STATE_HOME": str(home), "TERM": "xterm", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "response_tuning", "chat", *arguments],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(other)
        self.screen = ""

    def type(self, keys: bytes, until: str, *, seconds: float = 60) -> str:
        """Type keys; returns what was printed until a pattern came, without control sequences."""
        os.write(self._side, keys)
        seen = ""
        end = monotonic() + seconds
        while not re.search(until, seen, re.DOTALL):
            assert monotonic() < end, f"no {until!r} in {seen[-400:]!r}"
            if select.select([self._side], [], [], 0.1)[0]:
                try:
                    seen += os.read(self._side, 65536).decode(errors="replace")
                except OSError:  # the process has ended
                    break
            seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
        return seen


@pytest.fixture
def terminal(run_specs: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    runs = [f"{name}={run_specs[name]}" for name in ("base", "rt", "it")]
    opened = Terminal(*runs, "--dtype", "float32", "--device", "cpu", "--max-new-tokens", "900", home=tmp_path)
    yield opened
    if opened.process.poll() is None:
        opened.process.kill()
        opened.process.wait()


def test_in_a_terminal_runs_stand_side_by_side_lines_are_edited_and_kept_and_ctrl_c_stops_an_answer(
    terminal: Terminal, tmp_path: Path
) -> None:
    terminal.type(b"", r"/help lists.*> $")
    assert "/system TEXT" in terminal.type(b"/hlep\x7f\x7f\x7felp\r", r"Ctrl-C stops an answer.*> $")
    terminal.type(b"/turns on\r", r"the dialogue is kept\s+> $")
    terminal.type(b"What is \xff rain?\r", r"base +rt +it")
    stopped = monotonic()
    os.kill(terminal.process.pid, signal.SIGINT)
    terminal.type(b"", r"> $")
    assert monotonic() - stopped < 5
    assert "What is" in terminal.type(b"\x1b[A", r"rain\?")
    terminal.type(b"\x15/quit\r", r"/quit\s", seconds=5)
    terminal.process.wait(timeout=20)
    assert terminal.process.returncode == 0
    history = (tmp_path / "response-tuning" / "chat_history").read_text(errors="replace")
    assert "/turns on" in history
    assert "rain?" in history
