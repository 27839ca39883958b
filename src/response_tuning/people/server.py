"""The raters' server: pages, screens and votes over HTTP.

A rater is known by the token of their link. Nothing that is sent to a rater tells which run wrote a response: no name,
no path, no number. Pages load nothing from elsewhere, scripts come from files of this package alone, requests of other
origins are refused, and bodies are small.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from response_tuning.people.protocol import Protocol
from response_tuning.people.report import rating_summary
from response_tuning.people.store import Store, Vote

__all__ = ["make_app"]

_MOST_BYTES = 64 * 1024
_MOST_COMMENT = 4_000
_STATIC = {"rate.js": "text/javascript", "rate.css": "text/css"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(store: Store, *, allowed_hosts: list[str]) -> Starlette:
    """The application that serves an open rating.

    Args:
        store: The rating.
        allowed_hosts: The host names that a request may ask for; "*" for any.
    """
    app = Starlette(
        routes=[
            Route("/rate/{token}", _page),
            Route("/rate/{token}/protocol", _protocol),
            Route("/rate/{token}/screen", _screen),
            Route("/rate/{token}/vote", _vote, methods=["POST"]),
            Route("/admin/{token}", _admin),
            Route("/static/{name}", _static),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts),
            Middleware(BaseHTTPMiddleware, dispatch=_guarded),
        ],
    )
    app.state.store = store
    app.state.protocol = store.protocol
    return app


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse other origins and large bodies, and set the headers of every answer."""
    origin = request.headers.get("origin")
    length = request.headers.get("content-length", "0")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        response: Response = PlainTextResponse("Requests of other origins are refused.", 403)
    elif request.method == "POST" and (not length.isdigit() or int(length) > _MOST_BYTES):
        response = PlainTextResponse("The body is too large.", 413)
    else:
        response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _rater(request: Request) -> int | None:
    return _store(request).rater_of(request.path_params["token"])


def _nothing() -> PlainTextResponse:
    return PlainTextResponse("There is nothing here.", 404)


def _page(request: Request) -> Response:
    if _rater(request) is None:
        return _nothing()
    return HTMLResponse(_rendered("rater.html.jinja", protocol=request.app.state.protocol))


def _protocol(request: Request) -> Response:
    if _rater(request) is None:
        return _nothing()
    protocol: Protocol = request.app.state.protocol
    return JSONResponse(protocol.model_dump())


def _screen(request: Request) -> Response:
    """A screen by its position, or the next one without a vote."""
    rater, store = _rater(request), _store(request)
    if rater is None:
        return _nothing()
    done, total = store.progress(rater)
    asked = request.query_params.get("position")
    position = int(asked) if asked is not None and asked.isdigit() else store.next_position(rater)
    screen = None if position is None else store.screen(rater, position)
    return JSONResponse({"done": done, "total": total, "screen": None if screen is None else asdict(screen)})


async def _vote(request: Request) -> Response:
    rater, store = _rater(request), _store(request)
    if rater is None:
        return _nothing()
    try:
        said = json.loads(await request.body())
        assignment = str(said["assignment"])
        two = store.shows_two(rater, assignment)
        if two is None:
            return _nothing()
        vote = _read_vote(said, request.app.state.protocol, two=two)
    except (KeyError, TypeError, ValueError) as error:
        return PlainTextResponse(f"This is no vote: {error}", 400)
    store.save(assignment, vote, at=datetime.now(UTC).isoformat(timespec="milliseconds"))
    done, total = store.progress(rater)
    return JSONResponse({"done": done, "total": total})


def _read_vote(said: dict[str, Any], protocol: Protocol, *, two: bool) -> Vote:
    """A vote as the page sends it.

    Raises:
        ValueError: it is not complete, or a value is not one of the protocol's.
    """
    flagged = said.get("flagged", False)
    if not isinstance(flagged, bool):
        raise ValueError("'flagged' is true or false")
    wanted = {
        "left_level": len(protocol.levels),
        "right_level": len(protocol.levels) if two else 0,
        "preference": len(protocol.preference) if two else 0,
    }
    values: dict[str, int | None] = {}
    for name, count in wanted.items():
        value = said.get(name)
        if value is None and (not count or flagged):
            values[name] = None
        elif type(value) is int and 0 <= value < count:
            values[name] = value
        else:
            raise ValueError(f"{name!r} is not one of {count} choices")
    comment, seconds = str(said.get("comment", "")), float(said.get("seconds", 0))
    if len(comment) > _MOST_COMMENT or not 0 <= seconds < 1e9:
        raise ValueError("the comment is too long, or the time is not a number of seconds")
    return Vote(values["left_level"], values["right_level"], values["preference"], flagged, comment, seconds)


def _admin(request: Request) -> Response:
    """Progress, results so far, and what was flagged."""
    store = _store(request)
    if not store.is_admin(request.path_params["token"]):
        return _nothing()
    flagged = store.rows(
        "SELECT p.text, l.text, r.text, v.comment FROM votes v JOIN assignments a ON a.id = v.assignment "
        "JOIN prompts p ON p.prompt = a.prompt JOIN responses l ON l.prompt = a.prompt AND l.run = a.left_run "
        "LEFT JOIN responses r ON r.prompt = a.prompt AND r.run = a.right_run WHERE v.flagged ORDER BY v.at"
    )
    progress = [store.progress(rater) for rater in range(len(store.rater_tokens))]
    return HTMLResponse(
        _rendered("admin.html.jinja", progress=progress, summary=rating_summary(store), flagged=flagged)
    )


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return _nothing()
    text = (files("response_tuning.people.pages") / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        text = (files("response_tuning.support") / "page.css").read_text(encoding="utf-8") + text
    return Response(text, media_type=_STATIC[name])


def _rendered(template: str, **values: object) -> str:
    environment = Environment(
        loader=PackageLoader("response_tuning", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(f"people/pages/{template}").render(**values)
