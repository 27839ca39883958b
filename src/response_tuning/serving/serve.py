"""``rt serve``: runs by name for any OpenAI client, from one process, and proved before it answers anyone."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname, socket
from tempfile import TemporaryDirectory

from starlette.applications import Starlette

from response_tuning.export.proof.proof import Proof, Reference, make_reference
from response_tuning.inference.responder import Responder
from response_tuning.serving.app import build_app
from response_tuning.serving.engine import Engine
from response_tuning.serving.gguf_runs import load_gguf_runs
from response_tuning.serving.http_proof import prove_served, tolerance_of
from response_tuning.serving.listening import (
    address_of,
    is_of_this_machine_alone,
    listen,
    run_until_stopped,
    running,
)
from response_tuning.serving.llama_cpp import LlamaCppEngine
from response_tuning.serving.load_served import Witness, load_served, named_runs
from response_tuning.serving.serve_by_vllm import serve_by_vllm
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.extras import require_extra
from response_tuning.support.progress import say, warn

__all__ = ["leave", "serve"]

_CONTEXT_TOKENS = 4096
"""Of a model that names no context."""


def serve(config: ServeConfig) -> None:
    """Serve runs until Ctrl-C.

    Raises:
        UserError: a run cannot be loaded, the port is in use, or the server does not answer as the runs do.
    """
    runs = named_runs(config.runs)
    if config.engine == "llama-cpp":
        require_extra("xllamacpp", "llama-cpp", purpose="--engine llama-cpp")
    if config.engine == "vllm":
        serve_by_vllm(config, runs)
        return
    listening = listen(config.host, config.port)  # before minutes of loading
    try:
        _serve_here(config, runs, listening)
    finally:
        listening.close()


def _serve_here(config: ServeConfig, runs: dict[str, str], listening: socket) -> None:
    references: dict[str, list[Reference]] = {}

    def witness(name: str, responder: Responder) -> None:
        say(f"answering {config.check_prompts} instructions as {name} does")
        references[name] = make_reference(responder, prompts=config.check_prompts, new_tokens=config.check_tokens)

    with _loaded(config, runs, witness) as (served, engine, tolerances):
        try:
            app = build_app(served, engine, max_new_tokens=config.max_new_tokens)
            _prove(app, config, served, references, tolerances)
            hosts = _hosts(config.host) if is_of_this_machine_alone(listening) else ["*"]
            app = build_app(served, engine, max_new_tokens=config.max_new_tokens, hosts=hosts)
            run_until_stopped(app, listening, on_start=lambda: _announce(list(runs), listening), on_stop=engine.stop)
        except KeyboardInterrupt:
            say("stopped")
        finally:
            engine.stop()


@contextmanager
def _loaded(
    config: ServeConfig, runs: dict[str, str], witness: Witness
) -> Iterator[tuple[list[ServedRun], Engine | LlamaCppEngine, dict[str, float]]]:
    """The runs, what answers for them, and by how many nats it may differ from each."""
    if config.engine == "transformers":
        served = load_served(runs, format_name=config.format, dtype=config.dtype, device=config.device, witness=witness)
        engine = Engine(batch_size=config.batch_size, batches=len(served) + 1)
        yield served, engine, dict.fromkeys(runs, tolerance_of(config.dtype))
        return
    import torch

    with TemporaryDirectory() as folder:
        found = load_gguf_runs(
            runs,
            Path(folder),
            format_name=config.format,
            dtype=config.dtype,
            device=config.device,
            witness=witness,
        )
        contexts = {gguf.run.name: gguf.run.context or _CONTEXT_TOKENS for gguf in found}
        files = {gguf.run.name: gguf.file for gguf in found}
        llama = LlamaCppEngine(files, contexts=contexts, threads=torch.get_num_threads())
        yield [gguf.run for gguf in found], llama, {gguf.run.name: gguf.tolerance for gguf in found}


def _prove(
    app: Starlette,
    config: ServeConfig,
    served: list[ServedRun],
    references: dict[str, list[Reference]],
    tolerances: dict[str, float],
) -> None:
    """Answer over HTTP on a port that nobody knows, and compare.

    Raises:
        UserError: a run is answered for differently.
    """
    engine = "this server" if config.engine == "transformers" else "llama.cpp"

    def prove(run: ServedRun) -> Proof:
        return prove_served(
            url, run.name, references[run.name], run.responder, engine=engine, tolerance=tolerances[run.name]
        )

    with running(app) as url, ThreadPoolExecutor(len(served)) as pool:  # all runs at once
        for proof in pool.map(prove, served):
            say(str(proof))


def _announce(names: list[str], listening: socket) -> None:
    url = address_of(listening)
    if not is_of_this_machine_alone(listening):
        warn(f"{url}: every machine that reaches this one can use the server. It asks for no password.")
    say(f"Serving {', '.join(names)}. In the browser: {url}/   OpenAI clients: {url}/v1   Ctrl-C ends.")


def _hosts(host: str) -> list[str]:
    """The names under which a server of this machine alone is addressed."""
    return list(dict.fromkeys([host, "127.0.0.1", "localhost", "[::1]", gethostname()]))


def leave() -> None:
    """End the process at once, with code 0.

    A forward pass of a large model cannot be interrupted, and the libraries take seconds to clean up on a busy machine.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
