"""Run a model's code on tests in a subprocess with limits. It never runs unless a user asks for it.

The limits, all set before the code is read: 5 s of CPU and 10 s in all, 512 MiB of memory, files of 1 MiB in a
temporary folder that is deleted afterwards, no other processes, no network. Where ``unshare`` works, the process is in
a network and a process namespace of its own; everywhere, hooks of the interpreter refuse sockets, processes,
``ctypes``, and files opened for writing elsewhere. The environment is empty (``python -I``), so that keys are not in
reach.

What is not isolated: the code runs as the same user and can read the files that this user can read, and the
interpreter's hooks are no barrier to code written to break them. Run untrusted models' code in a container.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from response_tuning.support.platforms import require_unix

__all__ = ["passes_tests"]

_SECONDS = 10.0
_RUNNER = Path(__file__).with_name("code_runner.py")


def passes_tests(
    code: str,
    tests: Sequence[str],
    *,
    language: str = "python",
    answer: str | None = None,
    setup: str = "",
    stdin: str = "",
) -> bool:
    """Whether every test is true after the code has run.

    Args:
        code: a Python program, an SQL query, or a regular expression.
        tests: Python expressions, with the names that ``CodeCheck`` documents.
        language: ``python``, ``sql`` or ``regex``.
        answer: the name in the code that tests call ``answer``.
        setup: Python code that runs before, or SQL statements.
        stdin: what the code reads.
    """
    require_unix("Running a model's code")
    # The runner reports success with a word that the code does not know.
    passed = secrets.token_hex()
    task = {
        "code": code,
        "tests": [*tests],
        "language": language,
        "answer": answer,
        "setup": setup,
        "stdin": stdin,
        "passed": passed,
    }
    with TemporaryDirectory(prefix="rt-code-", ignore_cleanup_errors=True) as folder:
        command = [*_namespaces(), sys.executable, "-I", "-S", "-B", str(_RUNNER), folder]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(json.dumps(task).encode(), timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            _end(process)
    return process.returncode == 0 and output.decode("utf-8", "replace") == passed


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@cache
def _namespaces() -> tuple[str, ...]:
    """The command that puts a process into namespaces of its own; empty where that is not possible."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    base = (unshare, "--net", "--pid", "--fork", "--kill-child")
    for command in (base, (*base, "--map-root-user")):
        if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
            return command
    return ()
