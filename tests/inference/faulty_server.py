"""A real HTTP server that speaks OpenAI's chat protocol and answers as badly as it is told to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["FaultyServer", "Reply", "serve"]

Reply = Callable[[str, int], str]
"""Given the question and how often it came before: the text of the answer, or the name of a fault."""

FAULTS = (
    "status 429",
    "status 500",
    "status 503",
    "hang",
    "truncated json",
    "empty choices",
    "wrong content type",
    "connection reset",
)


@dataclass
class FaultyServer:
    """What a test sees of the server."""

    url: str
    asked: list[str] = field(default_factory=list)
    """Every question, in the order in which it came."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    """Every request, likewise."""
    authorizations: set[str] = field(default_factory=set)

    @property
    def counts(self) -> Counter[str]:
        """How often each question came."""
        return Counter(self.asked)


@contextmanager
def serve(reply: Reply, *, hang_seconds: float = 3.0) -> Iterator[FaultyServer]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = body["messages"][-1]["content"]
            with lock:
                before = server.asked.count(question)
                server.asked.append(question)
                server.bodies.append(body)
                server.authorizations.add(self.headers.get("Authorization", ""))
            self._answer(reply(question, before))

        def _answer(self, text: str) -> None:
            if text.startswith("status "):
                self._send(int(text.split()[1]), _json({"error": {"message": f"{text}; {self._key()}"}}))
            elif text == "hang":
                time.sleep(hang_seconds)
                self._send(200, _json(_completion("too late")))
            elif text == "truncated json":
                self._send(200, _json(_completion("cut"))[:40])
            elif text == "empty choices":
                self._send(200, _json(_completion("") | {"choices": []}))
            elif text == "wrong content type":
                self._send(200, b"<html>busy</html>", content_type="text/html")
            elif text == "connection reset":
                self.close_connection = True
                self.connection.close()
            else:
                self._send(200, _json(_completion(text)))

        def _key(self) -> str:
            """Servers repeat keys in their messages; this one always does."""
            return f"the key was {self.headers.get('Authorization', '')}"

        def _send(self, status: int, body: bytes, *, content_type: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # Of connections that wait to be accepted; with the default of 5, a busy processor refuses some.
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """A client that hung up on a slow answer is what was wanted."""

    http = Server(("127.0.0.1", 0), Handler)
    server = FaultyServer(f"http://127.0.0.1:{http.server_port}/v1")
    # How often it looks whether it should end: the default would cost each test that has a server a quarter second.
    thread = threading.Thread(target=partial(http.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _completion(text: str) -> dict[str, Any]:
    ending = "length" if text.startswith("(long)") else "stop"
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "faulty",
        "choices": [{"index": 0, "finish_reason": ending, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12},
    }
