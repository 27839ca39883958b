"""The server itself: a port, uvicorn, and an end that waits for nobody."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from response_tuning.support.errors import UserError

__all__ = ["address_of", "is_of_this_machine_alone", "listen", "run_until_stopped", "running"]

_BACKLOG = 128
_LOOK_SECONDS = 0.05


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Clients that come before the server answers wait for it.

    Raises:
        UserError: the port is in use or not allowed, or there is no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"--host {host}: there is no such address ({error.strerror}).") from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        what = (error.strerror or str(error)).lower()
        raise UserError(
            f"Cannot listen on {host}, port {port}: {what}. Choose another --port, or stop the program that uses it."
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """The URL of a socket, without a path."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_of_this_machine_alone(listening: socket.socket) -> bool:
    """Whether no other machine reaches the socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def run_until_stopped(
    app: Starlette, listening: socket.socket, *, on_start: Callable[[], object], on_stop: Callable[[], object]
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        app: the application.
        listening: the socket.
        on_start: called once the server answers and Ctrl-C ends it in order.
        on_stop: called at once when it is told to end: ends the responses under way.

    Raises:
        KeyboardInterrupt: it was ended by Ctrl-C.
    """
    server = _server(app)

    async def serve() -> None:
        watching = asyncio.create_task(_watch(server, on_start, on_stop))
        await server.serve(sockets=[listening])
        await watching

    asyncio.run(serve())


@contextmanager
def running(app: Starlette, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve in a thread, on a free port, until the block ends; gives the URL."""
    listening = listen(host, 0)
    server = _server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield address_of(listening)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        app, log_config=None, log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    return uvicorn.Server(config)


async def _watch(server: uvicorn.Server, on_start: Callable[[], object], on_stop: Callable[[], object]) -> None:
    while not server.started and not server.should_exit:
        await asyncio.sleep(_LOOK_SECONDS)
    on_start()
    while not server.should_exit:
        await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.to_thread(on_stop)
