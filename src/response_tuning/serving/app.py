"""The endpoints of ``rt serve``: OpenAI's protocol for text, and the page in the browser.

transformers has a server package (``transformers.cli.serving``), which cannot hold what is promised here. It tokenizes
rendered text, so control tokens in a user's text become control tokens. It runs each model in a thread of its own, so
runs that share weights would switch each other's adapters. It answers one prompt at a time, on for clients that hung
up, and streams text that is not stripped. And anyone may have it load any model of the hub, or unload those served.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from response_tuning.serving.job import Event, Failed, Finished, Job, Piece
from response_tuning.serving.page import page_routes
from response_tuning.serving.replies import DONE, Reply, event, models_json
from response_tuning.serving.requests import (
    ChatRequest,
    CompletionRequest,
    RequestError,
    TokenizeRequest,
    read_request,
)
from response_tuning.serving.served_run import ServedRun

__all__ = ["Answers", "build_app"]

Body = TypeVar("Body", bound=BaseModel)

_MOST_BYTES = 16 << 20
"""Of a request's body."""


class Answers(Protocol):
    """What generates: the engine of this process, or another program's."""

    def submit(self, job: Job) -> None:
        """Have a job answered; its events come in another thread."""
        ...


def build_app(
    runs: Sequence[ServedRun], engine: Answers, *, max_new_tokens: int, hosts: Sequence[str] = ("*",)
) -> Starlette:
    """The application that serves runs.

    Args:
        runs: what clients may name as a model.
        engine: what answers.
        max_new_tokens: the longest response where a request names no limit.
        hosts: the names under which the server may be addressed. A page of another site that has its own name point
            to this machine is refused.
    """
    api = _Api({run.name: run for run in runs}, engine, max_new_tokens, int(time.time()))
    return Starlette(
        routes=[
            *page_routes(),
            Route("/health", _health),
            Route("/v1/models", api.list_models),
            Route("/v1/models/{name:path}", api.show_model),
            Route("/v1/chat/completions", api.chat, methods=["POST"]),
            Route("/v1/completions", api.complete, methods=["POST"]),
            Route("/tokenize", api.tokenize, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={RequestError: _on_request_error, HTTPException: _on_http_error},
    )


@dataclass(frozen=True)
class _Api:
    runs: dict[str, ServedRun]
    engine: Answers
    max_new_tokens: int
    started: int

    async def list_models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": models_json(list(self.runs.values()), self.started)})

    async def show_model(self, request: Request) -> Response:
        run = self._run(request.path_params["name"])
        return JSONResponse(models_json([run], self.started)[0])

    async def tokenize(self, request: Request) -> Response:
        body = await _body(request, TokenizeRequest)
        run = self._run(body.model)
        ids = await asyncio.to_thread(_ids_to_show, run, body)
        return JSONResponse({"count": len(ids), "max_model_len": run.context, "tokens": ids})

    async def chat(self, request: Request) -> Response:
        body = await _body(request, ChatRequest)
        run = self._run(body.model)
        ids = await asyncio.to_thread(_dialogue_ids, run, body.messages)
        reply = Reply(run, "chat", len(ids), body.scored, as_ids=body.return_tokens_as_token_ids)
        return await self._answer(request, body, run, ids, reply)

    async def complete(self, request: Request) -> Response:
        body = await _body(request, CompletionRequest)
        run = self._run(body.model)
        ids = await asyncio.to_thread(_prompt_ids, run, body.prompt)
        reply = Reply(run, "completion", len(ids), body.scored, as_ids=body.return_tokens_as_token_ids)
        return await self._answer(request, body, run, ids, reply)

    def _run(self, name: str | None) -> ServedRun:
        if name is None and len(self.runs) == 1:
            return next(iter(self.runs.values()))
        if name not in self.runs:
            what = "Field 'model' is missing." if name is None else f"There is no model {name!r} here."
            code = None if name is None else "model_not_found"
            status = 400 if name is None else 404
            served = ", ".join(self.runs)
            raise RequestError(f"{what} This server has: {served}.", status=status, field="model", code=code)
        return self.runs[name]

    async def _answer(
        self, request: Request, body: ChatRequest | CompletionRequest, run: ServedRun, ids: list[int], reply: Reply
    ) -> Response:
        events: asyncio.Queue[Event] = asyncio.Queue()
        job = Job(
            run,
            ids,
            _limit(run, len(ids), body.limit or self.max_new_tokens),
            _teller(events),
            body.sampling,
            body.stops,
            body.scored,
            rule=run.responder.stops if isinstance(body, ChatRequest) else None,
        )
        if body.stream:
            stream = _stream(self.engine, job, events, reply, reports_usage=body.reports_usage)
            return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        try:
            self.engine.submit(job)
            return await _unless_gone(request, _whole(events, reply))
        finally:
            job.cancel()


def _teller(events: asyncio.Queue[Event]) -> Callable[[Event], None]:
    """Puts events from any thread into a queue of this loop."""
    loop = asyncio.get_running_loop()

    def tell(happened: Event) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(events.put_nowait, happened)

    return tell


async def _whole(events: asyncio.Queue[Event], reply: Reply) -> Response:
    pieces: list[Piece] = []
    while True:
        match await events.get():
            case Piece() as piece:
                pieces.append(piece)
            case Finished() as finished:
                return JSONResponse(reply.whole(pieces, finished))
            case Failed(message):
                raise RequestError(message, status=503)


async def _stream(
    engine: Answers, job: Job, events: asyncio.Queue[Event], reply: Reply, *, reports_usage: bool
) -> AsyncIterator[str]:
    """The events of a streamed reply. The generator is closed when the client hangs up, which cancels the job."""
    try:
        engine.submit(job)
        for first in reply.begin():
            yield first
        while True:
            match await events.get():
                case Piece() as piece:
                    yield reply.chunk(piece)
                case Finished() as finished:
                    for last in reply.end(finished, reports_usage=reports_usage):
                        yield last
                    return
                case Failed(message):
                    yield event(RequestError(message, status=503).as_json())
                    yield DONE
                    return
    finally:
        job.cancel()


async def _unless_gone(request: Request, reply: Awaitable[Response]) -> Response:
    """The reply, or nothing as soon as the client has hung up."""
    answering = asyncio.ensure_future(reply)
    leaving = asyncio.ensure_future(_has_gone(request))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else Response(status_code=499)
    finally:
        for task in (answering, leaving):
            task.cancel()


async def _has_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _limit(run: ServedRun, prompt_tokens: int, wanted: int) -> int:
    """The most new tokens: what was asked for, within the model's context.

    Raises:
        RequestError: the prompt does not fit.
    """
    if run.context is None:
        return wanted
    room = run.context - prompt_tokens
    if room < 1:
        raise RequestError(
            f"The prompt takes {prompt_tokens:,} tokens, and the context of {run.name} has {run.context:,}: none is "
            "left for a response. Shorten the prompt.",
            field="messages",
            code="context_length_exceeded",
        )
    return min(wanted, room)


def _dialogue_ids(run: ServedRun, messages: object) -> list[int]:
    try:
        return run.ids_of_messages(messages)
    except ValueError as error:
        raise RequestError(f"{str(error)[:1].upper()}{str(error)[1:]}.", field="messages") from None


def _prompt_ids(run: ServedRun, prompt: str | Sequence[int] | Sequence[str]) -> list[int]:
    if not prompt:
        raise RequestError("Field 'prompt' is empty.", field="prompt")
    if isinstance(prompt, str):
        return run.text_ids(prompt)
    if isinstance(prompt[0], str):
        if len(prompt) > 1:
            raise RequestError("Field 'prompt' has several texts. Send one per request.", field="prompt")
        return run.text_ids(prompt[0])
    vocabulary = len(run.conversation.tokenizer)
    ids = [token for token in prompt if isinstance(token, int) and 0 <= token < vocabulary]
    if len(ids) < len(prompt):
        raise RequestError(f"Field 'prompt' has ids outside the vocabulary of {vocabulary:,}.", field="prompt")
    return ids


def _ids_to_show(run: ServedRun, body: TokenizeRequest) -> list[int]:
    if (body.messages is None) == (body.prompt is None):
        raise RequestError("Send either 'messages' or 'prompt'.")
    return run.text_ids(body.prompt) if body.prompt is not None else _dialogue_ids(run, body.messages)


async def _body(request: Request, kind: type[Body]) -> Body:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError("Send the request as application/json.", status=415)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _MOST_BYTES:
            raise RequestError(f"The body of the request is larger than {_MOST_BYTES >> 20} MiB.", status=413)
    return read_request(kind, bytes(data))


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _on_request_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.as_json(), status_code=error.status)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"There is no {request.method} {request.url.path} here."
    return JSONResponse(RequestError(message).as_json(), status_code=error.status_code, headers=error.headers)
