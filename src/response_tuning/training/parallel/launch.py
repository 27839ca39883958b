"""Starting several training processes: on this machine by this program, on several machines with torchrun.

Each process is an ordinary training that finds its rank in its environment, as torchrun sets it. They join at a port
of this machine; the launcher passes signals on, ends all when one fails, and reports which one it was and why.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from response_tuning.models.processor import usable_cores
from response_tuning.support.commands import typed_options
from response_tuning.support.configuration import flatten, options_of, write_config
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device
from response_tuning.support.terminal import VERBOSITY_VARIABLE
from response_tuning.training.presets import preset_values
from response_tuning.training.training_config import ParallelOptions, TrainingConfig

__all__ = ["launch", "node_commands", "processes_wanted"]

_LOCAL = "127.0.0.1"
_PORT_OF_NODES = 29500
_POLL_SECONDS = 0.02
_GRACE_SECONDS = 10.0
"""How long the others may take to end by themselves when one has failed: they may report the same reason."""
_TAIL_LINES = 20
_REFUSED = 2
"""A worker's exit code for an error caused by user input."""


def processes_wanted(parallel: ParallelOptions, device: Device) -> int:
    """How many processes to start on this machine; 1 in a process that a launcher started.

    Raises:
        UserError: there are fewer GPUs than asked for, or the options contradict the launcher or the device.
    """
    if "WORLD_SIZE" in os.environ:
        _require_same_number(parallel.per_node)
        return 1
    if parallel.nodes > 1:
        raise UserError("--nodes starts nothing: run the commands that rt train prints, one on each machine.")
    if parallel.gpus:
        _require_gpus(parallel.gpus, device)
        return parallel.gpus
    if parallel.processes > 1:
        _require_cpu(device)
    return parallel.processes


def _require_same_number(wanted: int) -> None:
    started = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    if wanted > 1 and wanted != started:
        raise UserError(
            f"A launcher started {started} processes on this machine, and {wanted} are asked for. "
            "Leave --gpus and --processes out under a launcher."
        )


def _require_gpus(gpus: int, device: Device) -> None:
    import torch

    found = torch.cuda.device_count()
    if device not in ("auto", "cuda"):
        raise UserError(f"--gpus {gpus} and --device {device} contradict each other.")
    if gpus > found:
        instead = "Choose fewer" if found else "On the CPU choose --processes"
        raise UserError(f"--gpus {gpus}: this machine, or this build of torch, has {found}. {instead}.")


def _require_cpu(device: Device) -> None:
    from response_tuning.models.device import pick_device

    if pick_device(device).type != "cpu":
        raise UserError("--processes is for the CPU: add --device cpu, or choose --gpus instead.")


def node_commands(config: TrainingConfig) -> list[str]:
    """The command to run on each of ``config.parallel.nodes`` machines, this one first. Nothing is started.

    All machines need the same data, model and program, and a shared run folder.
    """
    options = shlex.join(_options(config))
    return [
        f"torchrun --nnodes {config.parallel.nodes} --node-rank {node} --nproc-per-node {config.parallel.per_node} "
        f"--master-addr {socket.gethostname()} --master-port {_PORT_OF_NODES} -m response_tuning train {options}"
        for node in range(config.parallel.nodes)
    ]


def _options(config: TrainingConfig) -> list[str]:
    """The options that make ``config``, as they are typed: those that neither the defaults nor the preset give."""
    defaults = {name: option.field.default for name, option in options_of(TrainingConfig).items()}
    given = defaults | preset_values(config.preset)
    left_out = ("gpus", "processes", "nodes")
    return typed_options(
        {
            name: value
            for name, value in flatten(config, mode="json").items()
            if name not in left_out and value != given[name]
        }
    )


@dataclass(frozen=True)
class _Worker:
    """One process, and the files that it writes its error and its output to."""

    process: "subprocess.Popen[bytes]"
    error: Path
    output: Path | None
    """What it prints; None for the first, which prints to our own output."""


def launch(config: TrainingConfig, processes: int) -> None:
    """Train in several processes of this machine, and wait for them.

    Raises:
        UserError: a process failed; the message names it.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    with tempfile.TemporaryDirectory(prefix="response-tuning-") as name, _noted_interruption() as interruptions:
        folder = Path(name)
        write_config(folder / "config.yaml", config)
        workers = _start(folder, processes, _free_port())
        try:
            failed = _wait(workers, interruptions)
            if failed is not None and not interruptions:
                raise UserError(_failure(workers[failed], failed, processes))
            if interruptions:
                raise KeyboardInterrupt
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()


def _start(folder: Path, processes: int, port: int) -> list[_Worker]:
    workers = []
    for rank in range(processes):
        error, output = folder / f"error-{rank}.txt", folder / f"output-{rank}.txt" if rank else None
        module = "response_tuning.training.parallel.worker"
        arguments = [sys.executable, "-m", module, str(folder / "config.yaml"), str(error)]
        with (output or Path(os.devnull)).open("wb") as file:
            process = subprocess.Popen(
                arguments,
                env=_environment(os.environ, rank=rank, processes=processes, port=port),
                # A worker ends when this pipe does, so none outlives a launcher that was killed.
                stdin=subprocess.PIPE,
                stdout=file if output else None,
                stderr=file if output else None,
                # Ctrl-C reaches only the launcher, which passes it on to each worker once.
                start_new_session=True,
            )
        workers.append(_Worker(process, error, output))
    return workers


def _environment(inherited: Mapping[str, str], *, rank: int, processes: int, port: int) -> dict[str, str]:
    environment = {
        **inherited,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": _LOCAL,
        "MASTER_PORT": str(port),
    }
    # Threads of several processes that spin on the same cores slow each other down many times over.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    # Called from Python, not from the command line, workers print warnings and errors alone.
    environment.setdefault(VERBOSITY_VARIABLE, "quiet")
    # By default gloo and NCCL look up the address of this machine's name, which may not resolve.
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback:
        environment.setdefault("GLOO_SOCKET_IFNAME", loopback)
    return environment


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_LOCAL, 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _noted_interruption() -> Iterator[list[int]]:
    """Within the block, Ctrl-C and SIGTERM are added to the list that this yields."""
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread can
        before = {}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[_Worker], interruptions: Sequence[int]) -> int | None:
    """Wait for all, passing interruptions on; returns which failed first, after which the others have little time."""
    passed_on = 0
    failed: int | None = None
    deadline = float("inf")
    while any(worker.process.poll() is None for worker in workers) and time.monotonic() < deadline:
        for _ in range(passed_on, len(interruptions)):
            passed_on += 1
            for worker in workers:
                worker.process.send_signal(signal.SIGTERM)
        failed = _first_failed(workers) if failed is None else failed
        if failed is not None:
            deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        time.sleep(_POLL_SECONDS)
    return _first_failed(workers) if failed is None else failed


def _first_failed(workers: Sequence[_Worker]) -> int | None:
    """Of those that have failed, the likeliest to be why the others did: killed, then refused, then the rest."""
    codes = [(worker.process.poll() or 0, rank) for rank, worker in enumerate(workers)]
    failed = [(code > 0, code != _REFUSED, rank) for code, rank in codes if code]
    return min(failed)[2] if failed else None


def _failure(worker: _Worker, rank: int, processes: int) -> str:
    if worker.error.exists():
        return worker.error.read_text(encoding="utf-8")
    code = worker.process.wait()
    if code < 0:
        name = signal.Signals(-code).name
        how = f"was killed ({name})" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
    else:
        how = f"ended with exit code {code}"
    printed = worker.output.read_text(encoding="utf-8", errors="replace").splitlines() if worker.output else []
    return "\n".join(
        [f"process {rank} of {processes} {how}. Re-run the same command to resume.", *printed[-_TAIL_LINES:]]
    )
