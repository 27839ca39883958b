"""Processes that start in milliseconds: forks of one that has loaded torch, transformers and peft.

``QuickProcess`` takes the place of ``subprocess.Popen`` for ``python -m MODULE ...``. Each is a process of its own,
with its own environment, session and files, and can be killed; it saves the five seconds of processor time that Python
needs to load the libraries. The process that forks has never computed anything, so that no thread of it is lost.
"""

import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

__all__ = ["QuickProcess", "children_of", "quick_subprocess", "run_quickly"]

_PRELOADED = (
    "response_tuning.cli.main",
    "response_tuning.training.trainer",
    "response_tuning.evaluation.just.just_eval",
    "response_tuning.evaluation.refusals.refusals",
    "response_tuning.synthesis.refine",
    "inspect_ai.log",
    "inspect_ai.model",
    "openai",
    "peft",
    "torch.distributed.fsdp",
)
_START_SECONDS = 120
_STREAMS = 3
_server: tuple[Path, "subprocess.Popen[bytes] | None"] | None = None
"""The server's folder, and its process where this one started it."""


def _folder() -> Path:
    """The folder of the server, which is started by the first call."""
    global _server
    if _server is None:
        folder = Path(tempfile.mkdtemp(prefix="quick-"))
        # It ends when its standard input does, whatever ended this process.
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=Path(__file__).parents[1],
            start_new_session=True,
        )
        _server = folder, process
        deadline = time.monotonic() + _START_SECONDS
        while not (folder / "ready").exists():
            assert process.poll() is None and time.monotonic() < deadline, "the server of quick processes did not start"
            time.sleep(0.02)
    return _server[0]


def children_of(process: int) -> list[int]:
    """The quick processes that another process started, the first one first."""
    return sorted(int(path.name) for path in (_folder() / str(process)).iterdir())


class QuickProcess:
    """What ``subprocess.Popen`` is, as far as it is used here."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = False,
        start_new_session: bool = False,
    ) -> None:
        assert list(command[:2]) == [sys.executable, "-m"]
        self.args = list(command)
        self.returncode: int | None = None
        self._text = text
        theirs: list[int] = []
        self._opened: list[int] = []
        self.stdin = self._pipe(stdin, theirs, writing=True)
        self.stdout = self._pipe(stdout, theirs)
        self.stderr = self._pipe(theirs[1] if stderr == subprocess.STDOUT else stderr, theirs)
        request = {
            "arguments": list(command[2:]),
            "environment": dict(env if env is not None else os.environ),
            "cwd": str(cwd or Path.cwd()),
            "new_session": start_new_session,
            "parent": os.getpid(),
        }
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(_folder() / "socket"))
        socket.send_fds(self._socket, [b"x"], theirs)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        for opened in self._opened:
            os.close(opened)
        self._answers = self._socket.makefile("rb", buffering=0)
        self.pid = int(self._answers.readline())

    def _pipe(self, wanted: int | IO[Any] | None, theirs: list[int], *, writing: bool = False) -> IO[bytes] | None:
        """Append the end that the process gets; return ours, if there is one."""
        if wanted == subprocess.PIPE:
            reading_end, writing_end = os.pipe()
            self._opened.append(reading_end if writing else writing_end)
            theirs.append(self._opened[-1])
            return os.fdopen(writing_end, "wb") if writing else os.fdopen(reading_end, "rb")
        if wanted is None:
            wanted = len(theirs)
        elif wanted == subprocess.DEVNULL:
            wanted = os.open(os.devnull, os.O_RDWR)
            self._opened.append(wanted)
        theirs.append(wanted if isinstance(wanted, int) else wanted.fileno())
        return None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end; return its exit code."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._socket], [], [], timeout)[0]:
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._socket.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, written: str | bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write ``written``, read what the process prints, and wait for its end."""
        if self.stdin is not None:
            self.stdin.write(written.encode() if isinstance(written, str) else written or b"")
            self.stdin.close()
        deadline = None if timeout is None else time.monotonic() + timeout
        printed: dict[IO[bytes], bytes] = {stream: b"" for stream in (self.stdout, self.stderr) if stream is not None}
        open_streams = list(printed)
        while open_streams:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = select.select(open_streams, [], [], left)[0]
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            for stream in ready:
                read = os.read(stream.fileno(), 1 << 16)
                printed[stream] += read
                if not read:
                    open_streams.remove(stream)
                    stream.close()
        self.wait(None if deadline is None else max(0.1, deadline - time.monotonic()))
        texts = [None if stream is None else printed[stream] for stream in (self.stdout, self.stderr)]
        out, err = ((text.decode() if self._text and text is not None else text) for text in texts)
        return out, err


def run_quickly(command: Sequence[str], *, written: str | bytes | None = None, **options: Any) -> Any:
    """``subprocess.run(command, capture_output=True, ...)`` in a quick process."""
    stdin = subprocess.DEVNULL if written is None else subprocess.PIPE
    process = QuickProcess(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(written)
    assert process.returncode is not None
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def quick_subprocess() -> SimpleNamespace:
    """What the launcher needs of the module ``subprocess``, with quick processes."""
    return SimpleNamespace(Popen=QuickProcess, PIPE=subprocess.PIPE)


def _serve(folder: Path) -> None:
    for name in _PRELOADED:
        import_module(name)
    import_module("response_tuning.training.parallel.launch").__dict__["subprocess"] = quick_subprocess()
    # Forked processes that start others ask this server.
    global _server
    _server = folder, None
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait
    (folder / "ready").touch()
    while listener.fileno() in select.select([listener.fileno(), 0], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _start(connection, folder)
        connection.close()
    shutil.rmtree(folder, ignore_errors=True)


def _start(connection: socket.socket, folder: Path) -> None:
    """Start one process, report its number and later its exit code. Never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, _STREAMS)
    lines = connection.makefile("rwb", buffering=0)
    request = json.loads(lines.readline())
    child = os.fork()
    if child == 0:
        lines.close()
        connection.close()
        _run(request, streams)
    for stream in {*streams, 0}:
        os.close(stream)
    (folder / str(request["parent"])).mkdir(exist_ok=True)
    (folder / str(request["parent"]) / str(child)).touch()
    lines.write(f"{child}\n".encode())
    lines.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def _run(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Be ``python -m MODULE ARGUMENTS``. Never returns."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    # Those of the server know whether its own files can seek.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    if request["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    module, *sys.argv[1:] = request["arguments"]
    code: Any = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    # Not as __main__: processes that it forks import the module by its name.
    import_module("tests.quick_process")._serve(Path(sys.argv[1]))
