"""``rt serve``: runs by name for any OpenAI client, from one process, and proved before it answers anyone."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from socket import gethostname, socket

from response_tuning.export.proof.proof import Proof, Reference, make_reference
from response_tuning.inference.responder import Responder
from response_tuning.serving.app import build_app
from response_tuning.serving.engine import Engine
from response_tuning.serving.http_proof import prove_served, tolerance_of
from response_tuning.serving.listening import (
    address_of,
    is_of_this_machine_alone,
    listen,
    run_until_stopped,
    running,
)
from response_tuning.serving.load_served import load_served, named_runs
from response_tuning.serving.serve_by_vllm import serve_by_vllm
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.progress import say, warn

__all__ = ["leave", "serve"]


def serve(config: ServeConfig) -> None:
    """Serve runs until Ctrl-C.

    Raises:
        UserError: a run cannot be loaded, the port is in use, or the server does not answer as the runs do.
    """
    runs = named_runs(config.runs)
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

    served = load_served(runs, format_name=config.format, dtype=config.dtype, device=config.device, witness=witness)
    engine = Engine(batch_size=config.batch_size, batches=len(served) + 1)
    try:
        _prove(config, served, engine, references)
        hosts = _hosts(config.host) if is_of_this_machine_alone(listening) else ["*"]
        app = build_app(served, engine, max_new_tokens=config.max_new_tokens, hosts=hosts)
        _announce(list(runs), listening)
        run_until_stopped(app, listening, on_stop=engine.stop)
    except KeyboardInterrupt:
        say("stopped")
    finally:
        engine.stop()


def _prove(
    config: ServeConfig, served: list[ServedRun], engine: Engine, references: dict[str, list[Reference]]
) -> None:
    """Answer over HTTP on a port that nobody knows, and compare.

    Raises:
        UserError: a run is answered for differently.
    """
    app = build_app(served, engine, max_new_tokens=config.max_new_tokens)

    def prove(run: ServedRun) -> Proof:
        return prove_served(
            url,
            run.name,
            references[run.name],
            run.responder,
            engine="this server",
            tolerance=tolerance_of(config.dtype),
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
