"""Serve an open rating until it is interrupted."""

import ipaddress
import socket

from response_tuning.people.rate import rating_links
from response_tuning.people.rating_config import RateConfig
from response_tuning.people.store import Store
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.progress import say, warn

__all__ = ["is_loopback", "require_to_serve", "serve_rating"]


def require_to_serve() -> None:
    """Require the packages of the extra ``rate``.

    Raises:
        UserError: one is missing.
    """
    for package in ("uvicorn", "starlette", "evalica"):
        require_extra(package, "rate", purpose="Serving a rating")


def serve_rating(store: Store, config: RateConfig) -> None:
    """Print the links, and serve until Ctrl-C.

    Raises:
        UserError: the port is in use, or of certificate and key only one is given.
    """
    require_to_serve()
    import uvicorn

    from response_tuning.people.web.server import make_app

    if (config.certificate is None) != (config.key is None):
        raise UserError("--certificate and --key belong together. Give both, or neither.")
    for path in (config.certificate, config.key):
        if path is not None and not path.is_file():
            raise UserError(f"There is no file {path}.")
    is_local = is_loopback(config.host)
    if not is_local and config.certificate is None:
        warn(
            f"{config.host} can be reached by others, and without --certificate and --key everything is sent in plain "
            "text: whoever reads along can vote as a rater."
        )
    listening = _listen(config.host, config.port)
    scheme = "http" if config.certificate is None else "https"
    address = f"{scheme}://{_shown(config.host)}:{listening.getsockname()[1]}"
    links, admin = rating_links(store, address)
    for number, link in enumerate(links, start=1):
        print(f"rater {number}: {link}")
    print(f"administrator: {admin}", flush=True)
    say("Every vote is saved at once. Ctrl-C stops the server; re-run the same command to resume.")
    hosts = ["127.0.0.1", "localhost", "[::1]", "::1"] if is_local else ["*"]
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(store, allowed_hosts=hosts),
            log_level="warning",
            access_log=False,  # a path holds a token
            server_header=False,
            ssl_certfile=config.certificate,
            ssl_keyfile=config.key,
            timeout_graceful_shutdown=2,
        )
    )
    server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"Cannot serve at {host}:{port}: {reason}. Choose another --port.") from error
    return listening


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server at that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
