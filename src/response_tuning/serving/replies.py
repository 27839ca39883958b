"""Replies of OpenAI's protocol as JSON: whole ones, and the chunks of a stream."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from response_tuning.inference.sampling import TokenScores
from response_tuning.serving.job import Finished, Piece
from response_tuning.serving.served_run import ServedRun

__all__ = ["DONE", "Reply", "event", "models_json"]

DONE = "data: [DONE]\n\n"
"""The last event of every stream."""
_UNKNOWN = -9999.0
"""OpenAI's number for a log-probability that is not reported."""


def event(body: dict[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


def models_json(runs: Sequence[ServedRun], created: int) -> list[dict[str, Any]]:
    """The runs as ``GET /v1/models`` lists them."""
    return [
        {
            "id": run.name,
            "object": "model",
            "created": created,
            "owned_by": "response-tuning",
            "max_model_len": run.context,
        }
        for run in runs
    ]


@dataclass(frozen=True)
class Reply:
    """The reply to one request: what every body of it has in common."""

    run: ServedRun
    kind: Literal["chat", "completion"]
    prompt_tokens: int
    scored: int | None
    """How many of the likeliest tokens are listed with each token; None without log-probabilities."""
    as_ids: bool = False
    """Whether tokens are listed as ``token_id:N``."""
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, pieces: Sequence[Piece], finished: Finished) -> dict[str, Any]:
        """The body of a reply that is not streamed."""
        text = "".join(piece.text for piece in pieces)
        tokens = [token for piece in pieces for token in piece.tokens]
        answer = (
            {"message": {"role": "assistant", "content": text, "refusal": None}} if self._is_chat else {"text": text}
        )
        choice = {"index": 0, **answer, "logprobs": self._logprobs(tokens), "finish_reason": finished.reason}
        return {**self._body("chat.completion"), "choices": [choice], "usage": self._usage(finished)}

    def chunk(self, piece: Piece) -> str:
        """The event for more of the text."""
        answer: dict[str, Any] = {"delta": {"content": piece.text}} if self._is_chat else {"text": piece.text}
        return self._chunk({**answer, "logprobs": self._logprobs(piece.tokens), "finish_reason": None})

    def begin(self) -> Iterator[str]:
        """The events before the first text."""
        if self._is_chat:
            yield self._chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})

    def end(self, finished: Finished, *, reports_usage: bool) -> Iterator[str]:
        """The events after the last text."""
        answer: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        yield self._chunk({**answer, "finish_reason": finished.reason})
        if reports_usage:
            yield event({**self._body("chat.completion.chunk"), "choices": [], "usage": self._usage(finished)})
        yield DONE

    @property
    def _is_chat(self) -> bool:
        return self.kind == "chat"

    def _body(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self._is_chat else 'cmpl'}-{self.identity}",
            "object": kind if self._is_chat else "text_completion",
            "created": self.created,
            "model": self.run.name,
        }

    def _chunk(self, choice: dict[str, Any]) -> str:
        return event({**self._body("chat.completion.chunk"), "choices": [{"index": 0, **choice}]})

    def _usage(self, finished: Finished) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": finished.token_count,
            "total_tokens": self.prompt_tokens + finished.token_count,
        }

    def _logprobs(self, tokens: Sequence[TokenScores]) -> dict[str, Any] | None:
        if self.scored is None:
            return None
        if not self._is_chat:
            return {
                "tokens": [self._token(token.token_id) for token in tokens],
                "token_logprobs": [token.log_probability for token in tokens],
                "top_logprobs": [{self._token(other): value for other, value in token.likeliest} for token in tokens],
            }
        stops = self.run.conversation.stop_token_ids
        return {
            "content": [
                {
                    **self._scored_token(token.token_id, token.log_probability),
                    "top_logprobs": [self._scored_token(other, value) for other, value in token.likeliest],
                }
                for token in tokens
                if token.token_id not in stops
            ],
            "refusal": None,
        }

    def _scored_token(self, token_id: int, log_probability: float | None) -> dict[str, Any]:
        text = self._token(token_id)
        value = _UNKNOWN if log_probability is None else log_probability
        return {"token": text, "logprob": value, "bytes": list(text.encode())}

    def _token(self, token_id: int) -> str:
        return f"token_id:{token_id}" if self.as_ids else self.run.token_text(token_id)
