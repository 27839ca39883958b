"""The raters' server: pages, screens and votes over HTTP.

A rater is known by the token of their link. Nothing that is sent to a rater tells which run wrote a response: no name,
no path and no number, and all screens are made by the same code, whatever they show.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from response_tuning.people.protocol import Protocol
from response_tuning.people.store import Screen, Store
from response_tuning.people.web.admin import admin_page, decide
from response_tuning.people.web.guard import Guard
from response_tuning.people.web.votes import read_vote

__all__ = ["make_app"]

_STATIC = {"rate.js": "text/javascript", "admin.js": "text/javascript", "rate.css": "text/css"}


def make_app(store: Store, *, allowed_hosts: list[str]) -> Starlette:
    """The application that serves an open rating.

    Args:
        store: The rating.
        allowed_hosts: The host names that a request may ask for; "*" for any.
    """
    server = _Server(store)
    return Starlette(
        routes=[
            Route("/rate/{token}", server.page),
            Route("/rate/{token}/protocol", server.asked),
            Route("/rate/{token}/screen", server.screen),
            Route("/rate/{token}/vote", server.vote, methods=["POST"]),
            Route("/admin/{token}", server.admin),
            Route("/admin/{token}/decide", server.decision, methods=["POST"]),
            Route("/static/{name}", _static),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts, www_redirect=False),
            Middleware(Guard),
        ],
    )


class _Server:
    """The endpoints. What reads the file runs in threads, so that one request does not wait for another's disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._protocol: Protocol = store.protocol
        self._is_markdown = store.settings.get("render") == "markdown"
        self._holds = bool(store.settings.get("hold_flagged"))

    def _rater(self, request: Request) -> int | None:
        return self._store.rater_of(request.path_params["token"])

    def page(self, request: Request) -> Response:
        """The page of a rater."""
        if self._rater(request) is None:
            return _nothing()
        return HTMLResponse(rendered("rater.html.jinja", protocol=self._protocol))

    def asked(self, request: Request) -> Response:
        """What is asked, for the page's buttons."""
        if self._rater(request) is None:
            return _nothing()
        names = {
            "levels": [level.name for level in self._protocol.levels],
            "preference": [choice.name for choice in self._protocol.preference],
        }
        return JSONResponse(names)

    def screen(self, request: Request) -> Response:
        """A screen: the next one without a vote, one with a vote by its position, or the one before or after it."""
        rater, store = self._rater(request), self._store
        if rater is None:
            return _nothing()
        position = _asked_position(store, rater, request.query_params)
        screen = None if position is None else store.screen(rater, position)
        if screen is None and position is not None:  # held in the meantime
            position = store.next_position(rater)
            screen = None if position is None else store.screen(rater, position)
        return JSONResponse({**self._progress(rater), "screen": None if screen is None else self._shown(rater, screen)})

    def _progress(self, rater: int) -> dict[str, int]:
        return asdict(self._store.progress(rater))

    def _shown(self, rater: int, screen: Screen) -> dict[str, Any]:
        shown = asdict(screen)
        if self._is_markdown:
            from response_tuning.people.web.markdown import markdown_html

            shown["left_html"] = markdown_html(screen.left)
            shown["right_html"] = None if screen.right is None else markdown_html(screen.right)
        shown["has_previous"] = self._store.position_beside(rater, screen.position, step=-1) is not None
        return shown

    async def vote(self, request: Request) -> Response:
        """Save a vote. It is on the disk when this answers."""
        return await run_in_threadpool(self._vote, request.path_params["token"], await request.body())

    def _vote(self, token: str, body: bytes) -> Response:
        rater, store = self._store.rater_of(token), self._store
        if rater is None:
            return _nothing()
        try:
            said = json.loads(body)
            assignment = str(said["assignment"])
            position = store.position_of(rater, assignment)
            screen = None if position is None else store.screen(rater, position)
            if position is None:
                return _nothing()
            if screen is None:
                return PlainTextResponse("This screen waits for the administrator. Reload the page.", 409)
            vote = read_vote(said, self._protocol, shows_two=screen.right is not None)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            return PlainTextResponse(f"This is no vote: {error}", 400)
        following = store.next_position(rater)
        if screen.vote is None and following is not None and position > following:
            return PlainTextResponse("This screen comes later. Reload the page.", 409)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        store.save(assignment, vote, at=at, hold=self._holds)
        return JSONResponse({**self._progress(rater), "explanation": self._explanation(assignment, screen)})

    def _explanation(self, assignment: str, screen: Screen) -> str | None:
        sample = self._store.sample_of(assignment) if screen.is_training else None
        return None if sample is None else sample.explanation

    def admin(self, request: Request) -> Response:
        """Progress, results so far, and what was flagged."""
        if not self._store.is_admin(request.path_params["token"]):
            return _nothing()
        token = request.path_params["token"]
        return HTMLResponse(rendered("admin.html.jinja", token=token, **admin_page(self._store)))

    async def decision(self, request: Request) -> Response:
        """Release or withdraw a held prompt."""
        token = request.path_params["token"]
        return await run_in_threadpool(self._decision, token, await request.body())

    def _decision(self, token: str, body: bytes) -> Response:
        if not self._store.is_admin(token):
            return _nothing()
        if not decide(self._store, body):
            return PlainTextResponse("This is no decision on a held prompt.", 400)
        return Response(status_code=303, headers={"Location": f"/admin/{token}#held"})


def _asked_position(store: Store, rater: int, query: Any) -> int | None:
    """The position of the screen that is asked for; never one after the next without a vote."""
    following = store.next_position(rater)
    asked: int | None = None
    for name, step in (("before", -1), ("after", 1)):
        if str(query.get(name, "")).isdecimal():
            asked = store.position_beside(rater, int(query[name]), step=-1 if step < 0 else 1)
    if str(query.get("position", "")).isdecimal():
        asked = int(query["position"])
    return following if asked is None or (following is not None and asked > following) else asked


def _nothing() -> PlainTextResponse:
    return PlainTextResponse("There is nothing here.", 404)


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return _nothing()
    return Response(_static_text(name), media_type=_STATIC[name])


@cache
def _static_text(name: str) -> str:
    text = (files("response_tuning.people.web.pages") / name).read_text(encoding="utf-8")
    if name.endswith(".css"):
        text = (files("response_tuning.support") / "page.css").read_text(encoding="utf-8") + text
    return text


def rendered(template: str, **values: object) -> str:
    """A page of this server. All text in it is escaped."""
    return _environment().get_template(f"people/web/pages/{template}").render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("response_tuning", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
