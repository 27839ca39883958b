"""The program that ``run_code`` starts: it limits itself, runs the code, evaluates the tests, and reports.

It runs isolated (``python -I -S``), so that it imports the standard library alone.
"""

import contextlib
import io
import json
import os
import resource
import sys
from typing import Any

_MEBIBYTE = 2**20
_LIMITS = {
    resource.RLIMIT_CPU: 5,
    resource.RLIMIT_AS: 512 * _MEBIBYTE,
    resource.RLIMIT_FSIZE: _MEBIBYTE,
    resource.RLIMIT_NOFILE: 32,
    resource.RLIMIT_CORE: 0,
}
_REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "os.chmod",
    "os.chown", "os.putenv", "ctypes.", "pty.", "signal.", "webbrowser.", "urllib.", "ftplib.", "smtplib.", "http.",
    "resource.setrlimit", "sys.addaudithook", "shutil.",
)  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Read the task from standard input; write its word ``passed`` to standard output if every test is true."""
    task = json.load(sys.stdin)
    folder = os.path.realpath(sys.argv[1])
    word = task.pop("passed").encode()
    report = os.dup(1)
    _limit(folder)
    passed = False
    with contextlib.suppress(BaseException):
        passed = _LANGUAGES[task["language"]](task)
    if passed:
        os.write(report, word)
    # Neither exit handlers nor threads of the code run after this.
    os._exit(0)


def _limit(folder: str) -> None:
    for limit, value in _LIMITS.items():
        resource.setrlimit(limit, (value, value))
    with contextlib.suppress(ValueError, OSError):
        # Counts the processes of the user; the superuser is exempt, whom the hook below stops.
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    sys.addaudithook(lambda event, arguments: _audit(event, arguments, folder))


def _audit(event: str, arguments: tuple[Any, ...], folder: str) -> None:
    if event.startswith(_REFUSED) or (event == "import" and arguments[0] in ("ctypes", "_ctypes", "_posixsubprocess")):
        raise PermissionError(f"{event} is not allowed here")
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES
    if (writes or event.startswith(_CHANGES)) and not _is_inside(arguments[0], folder):
        raise PermissionError("only the temporary folder may be written")


def _is_inside(path: Any, folder: str) -> bool:
    # A number is a file that is open already.
    return isinstance(path, int) or os.path.realpath(os.fspath(path)).startswith((folder + os.sep, folder.encode()))


def _python(task: dict[str, Any]) -> bool:
    names: dict[str, Any] = {"__name__": "__main__"}
    output = io.StringIO()
    sys.stdin = io.StringIO(task["stdin"])
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(task["setup"], "setup", "exec"), names)
        exec(compile(task["code"], "response", "exec"), names)
        if task["answer"]:
            names["answer"] = names[task["answer"]]
        names["output"] = output.getvalue()
        return all(bool(eval(test, names)) for test in task["tests"])


def _sql(task: dict[str, Any]) -> bool:
    import sqlite3

    database = sqlite3.connect(":memory:")
    database.executescript(task["setup"])
    names = {"rows": database.execute(task["code"]).fetchall()}
    return all(bool(eval(test, names)) for test in task["tests"])


def _regex(task: dict[str, Any]) -> bool:
    import re

    pattern = re.compile(task["code"])
    names = {"pattern": pattern, "answer": lambda text: pattern.fullmatch(text) is not None}
    return all(bool(eval(test, names)) for test in task["tests"])


_LANGUAGES = {"python": _python, "sql": _sql, "regex": _regex}

if __name__ == "__main__":
    main()
