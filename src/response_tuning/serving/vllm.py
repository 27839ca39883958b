"""``rt serve --engine vllm``: vLLM's own server for runs on one base model, started and proved.

vLLM is not a dependency: it needs CUDA and pins its own versions of torch, so it is often in another environment. Only
its command is used.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from response_tuning.models.load import resolve_model
from response_tuning.models.spec import require_local
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, write_json, write_text

__all__ = ["VllmRun", "require_servable", "running_vllm", "vllm_command", "wait_until_healthy"]

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that ``--max-lora-rank`` takes."""
_START_SECONDS = 1800.0
_END_SECONDS = 1.5


@dataclass(frozen=True)
class VllmRun:
    """One run as vLLM serves it."""

    name: str
    spec: str
    base: str
    """The spec of the weights."""
    adapter: Path | None
    chat_template: str
    stop_token_ids: tuple[int, ...]
    """What ends a response, the trained stop token first."""


def require_servable(runs: Sequence[VllmRun]) -> None:
    """Require what vLLM needs: one base model, one chat template, and adapters that are plain LoRA.

    Raises:
        UserError: something else; says which run, and what to do.
    """
    first = runs[0]
    for run in runs:
        if run.base != first.base:
            raise UserError(
                f"vLLM serves one base model, and {run.name} has another than {first.name}. Serve it alone."
            )
        if (run.chat_template, run.stop_token_ids) != (first.chat_template, first.stop_token_ids):
            raise UserError(
                "vLLM has one chat template and one set of stop tokens for all models, and those of "
                f"{run.name} are not those of {first.name}. Serve them alone, or choose one --format."
            )
        if run.adapter is not None:
            _require_plain_lora(run.name, run.spec, run.adapter)


def vllm_command(
    runs: Sequence[VllmRun], folder: Path, *, host: str, port: int, dtype: str, program: str = "vllm"
) -> list[str]:
    """The command that serves runs; writes the files that it names to ``folder``.

    Raises:
        UserError: the base model cannot be found.
    """
    base = runs[0].base
    write_text(folder / "chat_template.jinja", runs[0].chat_template)
    write_json(folder / "generation_config.json", {"eos_token_id": list(runs[0].stop_token_ids)})
    revision = require_local(base).revision
    named = [run.name for run in runs if run.adapter is None] or ["base"]
    adapters = {run.name: run.adapter for run in runs if run.adapter is not None}
    lora = [
        "--enable-lora",
        *("--max-loras", str(len(adapters)), "--max-lora-rank", str(_rank(list(adapters.values())))),
        *("--lora-modules", *(f"{name}={path.absolute()}" for name, path in adapters.items())),
    ]
    return [
        *(program, "serve", resolve_model(base), *(["--revision", revision] if revision else [])),
        *("--served-model-name", *named),
        *("--host", host, "--port", str(port), "--dtype", dtype),
        *("--chat-template", str(folder / "chat_template.jinja")),
        *("--generation-config", str(folder)),
        *("--override-generation-config", '{"temperature": 0}'),
        *(lora if adapters else []),
    ]


@contextmanager
def running_vllm(typed: Sequence[str]) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a command until the block ends; kill it if it takes too long to end.

    Raises:
        UserError: the program is not installed.
    """
    if shutil.which(typed[0]) is None:
        raise UserError(
            "--engine vllm needs the program vllm, which needs CUDA: pip install vllm, in an environment of its own "
            f"whose bin folder is in PATH. It would be started as: {shlex.join(typed)}"
        )
    process = subprocess.Popen(typed, start_new_session=True)  # it gets no Ctrl-C of its own
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server that is being started answers.

    Raises:
        UserError: it ended, or took too long.
    """
    end = monotonic() + _START_SECONDS
    while monotonic() < end:
        if process.poll() is not None:
            raise UserError(f"vLLM ended with code {process.returncode} while it was starting; its messages are above.")
        try:
            with urlopen(f"{url}/health", timeout=5):
                return
        except (URLError, OSError):
            sleep(0.2)
    raise UserError(f"vLLM did not answer within {_START_SECONDS:.0f} s.")


def _require_plain_lora(name: str, spec: str, adapter: Path) -> None:
    settings: dict[str, Any] = read_json(adapter / "adapter_config.json")
    wrong = [
        label
        for label, used in (
            ("DoRA", settings.get("use_dora")),
            ("modules trained in full", settings.get("modules_to_save")),
            ("adapters of single parameters", settings.get("target_parameters")),
            (f"the adapter type {settings.get('peft_type')}", settings.get("peft_type") != "LORA"),
        )
        if used
    ]
    if wrong:
        raise UserError(
            f"vLLM cannot load the adapter of {name}: it has {wrong[0]}. Merge it into the base model and serve that: "
            + command("export", spec, "--output", f"exports/{name.replace('/', '-')}")
        )


def _rank(adapters: Sequence[Path]) -> int:
    """The smallest allowed ``--max-lora-rank`` that holds every adapter."""
    largest = 0
    for adapter in adapters:
        settings: dict[str, Any] = read_json(adapter / "adapter_config.json")
        largest = max(largest, int(settings["r"]), *map(int, settings.get("rank_pattern", {}).values()), 0)
    fitting = [rank for rank in _RANKS if rank >= largest]
    if not fitting:
        raise UserError(f"vLLM takes adapters of rank {_RANKS[-1]} at most, and one here has rank {largest}.")
    return fitting[0]
