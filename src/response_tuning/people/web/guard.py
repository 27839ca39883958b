"""What every request and every response passes: origin, size of the body, and headers."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["MOST_BYTES", "Guard"]

MOST_BYTES = 64 * 1024
"""Of a request's body."""
_BODY_SECONDS = 30
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


class Guard:
    """Middleware that refuses requests of other origins and large bodies, and sets the same headers on every answer.

    Pages may use scripts and styles of this server alone, none of them inline, and no page of another site may hold
    them in a frame.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send)
        if _is_of_other_origin(scope):
            refusal = PlainTextResponse("Requests of other origins are refused.", 403)
            await refusal(scope, receive, guarded)
            return
        try:
            body = await asyncio.wait_for(_read(receive), _BODY_SECONDS)
        except TimeoutError:
            await PlainTextResponse("The request took too long.", 408)(scope, receive, guarded)
            return
        if body is None:
            await PlainTextResponse("The body is too large.", 413)(scope, receive, guarded)
            return
        await self._app(scope, _replay(body, receive), guarded)


def _is_of_other_origin(scope: Scope) -> bool:
    """Whether a page of another site sent the request. A link from elsewhere may be followed."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    return scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site", "same-origin") != "same-origin"


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if it is too large. Its length counts, not what a header says."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body.extend(message.get("body", b""))
        if len(body) > MOST_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body at once, and then whatever follows."""
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sent
