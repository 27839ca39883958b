"""Colours and control characters: in a terminal that wants them, and nowhere else."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def in_a_terminal(arguments: list[str], **environment: str) -> bytes:
    """What a command prints to a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "response_tuning", *arguments]
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    variables |= {"TERM": "xterm-256color", **environment}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=variables)
    os.close(slave)
    printed = b""
    while True:
        try:
            read = os.read(master, 1 << 16)
        except OSError:  # the process has ended
            break
        if not read:
            break
        printed += read
    process.wait()
    os.close(master)
    return printed


@pytest.mark.parametrize("arguments", [["doctor", "--help"], ["doctor", "--jsn"]], ids=["help", "error"])
def test_no_color_is_obeyed_by_help_and_errors(arguments: list[str]) -> None:
    assert COLOUR.search(in_a_terminal(arguments))
    assert not COLOUR.search(in_a_terminal(arguments, NO_COLOR="1"))


def test_a_long_command_says_how_long_it_took(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from response_tuning.cli import main as module

    times = iter((0.0, 192.0, 192.0))
    monkeypatch.setattr(module, "monotonic", lambda: next(times))
    (tmp_path / "rows.jsonl").write_text('{"completion": "Under Billing."}\n')
    arguments = ["data", "prepare", str(tmp_path / "rows.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    assert module.main(arguments) == 0
    assert "rt data prepare took 0:03:12." in capsys.readouterr().err
