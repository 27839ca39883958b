"""Other operating systems, by simulation: what only Linux and macOS have is not needed for importing anything."""

import ast
import builtins
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.checks.run_code import passes_tests
from response_tuning.support import platforms
from response_tuning.support.errors import UserError

SOURCE = Path(platforms.__file__).parents[1]
OF_UNIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
ATTRIBUTES_OF_UNIX = {
    *("fork", "getloadavg", "getpgid", "killpg", "nice", "sched_getaffinity", "setsid", "wait4", "O_NOFOLLOW"),
    *("SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2"),
}
STARTED_ON_UNIX_ONLY = {"code_runner.py"}
"""Programs of their own, which a caller starts after ``require_unix``."""


def while_importing(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when a module is imported: everything outside functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        inner = ast.iter_child_nodes(node)
        waiting += [part for part in inner if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]


def test_everything_imports_without_the_modules_of_unix() -> None:
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in while_importing(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            names += (
                [node.attr] if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("os", "signal") else []
            )
            found += [f"{path.name}: {name}" for name in names if name in OF_UNIX | ATTRIBUTES_OF_UNIX]
    assert {line.partition(":")[0] for line in found} <= STARTED_ON_UNIX_ONLY, found


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of Python that Windows lacks are missing."""
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name in OF_UNIX:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.usefixtures("windows")
class TestWindows:
    def test_a_study_is_refused_before_anything_is_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["study", "run", "laptop", "--output", str(tmp_path / "study")]) == 2
        assert "rt study run needs Linux or macOS" in capsys.readouterr().err
        assert not (tmp_path / "study").exists()

    def test_code_of_a_model_is_not_run_instead_of_counted_as_wrong(self) -> None:
        with pytest.raises(UserError, match="Running a model's code needs Linux"):
            passes_tests("a = 1", ["a == 1"])

    def test_memory_is_what_windows_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Memory:
            peak_wset = 5_000

        monkeypatch.setattr(psutil.Process, "memory_info", lambda _self: Memory())
        assert platforms.peak_memory_bytes() == 5_000
        assert platforms.data_limit_bytes() is None


def test_macos_counts_bytes_and_linux_kibibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert platforms.peak_bytes(3) == 3
    monkeypatch.setattr(sys, "platform", "linux")
    assert platforms.peak_bytes(3) == 3072
    assert platforms.peak_memory_bytes() > 10_000_000


def test_a_lock_is_held_by_one_opener_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert platforms.lock(first)
        assert not platforms.lock(second, wait=False)
        first.close()
        assert platforms.lock(second, wait=False)


def test_the_signal_that_ends_a_process_exists_here() -> None:
    assert platforms.KILL in signal.Signals
