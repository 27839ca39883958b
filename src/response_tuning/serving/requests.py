"""Requests of OpenAI's protocol: what is taken, what is ignored, and a sentence for what is refused.

A field that would change the answer and is not supported is refused, never ignored.
"""

import json
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from response_tuning.inference.sampling import Sampling
from response_tuning.support.records import refuse_surrogates

__all__ = ["ChatRequest", "CompletionRequest", "RequestError", "TokenizeRequest", "read_request"]

Body = TypeVar("Body", bound=BaseModel)

_WITHOUT_EFFECT = frozenset(
    {
        *("metadata", "parallel_tool_calls", "prediction", "prompt_cache_key", "prompt_cache_retention"),
        *("reasoning_effort", "safety_identifier", "service_tier", "store", "user", "verbosity", "tool_choice"),
        *("add_special_tokens", "return_token_strs"),
    }
)
"""Fields that change no answer here: accounting, caching, and what needs tools or reasoning."""
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
}
"""Fields that are taken with a value that changes nothing."""
_MOST_SCORED = 20


class RequestError(Exception):
    """A request that cannot be answered: one sentence for the client.

    Args:
        message: what is wrong, and what to do.
        status: of HTTP.
        field: the field that is wrong.
        code: what programs recognise it by.
    """

    def __init__(self, message: str, *, status: int = 400, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.field, self.code = status, field, code

    def as_json(self) -> dict[str, Any]:
        """The body of the reply, as OpenAI's clients read it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.field, "code": self.code}}


class _StreamOptions(BaseModel):
    include_usage: bool = False


class _Request(BaseModel):
    """What chat completions and completions share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None

    @property
    def sampling(self) -> Sampling:
        """Greedy unless a temperature is named: the same answer as everywhere else here."""
        return Sampling(
            temperature=self.temperature or 0.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            seed=None if self.seed is None else self.seed % (1 << 63),
        )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, without empty ones."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stop for stop in stops if stop)

    @property
    def reports_usage(self) -> bool:
        """Whether a stream ends in a chunk with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(_Request):
    """The body of ``POST /v1/chat/completions``."""

    messages: Any
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=_MOST_SCORED)] = None
    return_tokens_as_token_ids: bool = False

    @property
    def limit(self) -> int | None:
        """The most new tokens, if the client names it."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are reported; None without log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @model_validator(mode="after")
    def _scores_are_asked_for(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self


class CompletionRequest(_Request):
    """The body of ``POST /v1/completions``: a prompt without a chat format, as text or as token ids."""

    prompt: str | list[int] | list[str]
    logprobs: Annotated[int | None, Field(ge=0, le=_MOST_SCORED)] = None
    return_tokens_as_token_ids: bool = False

    @property
    def limit(self) -> int | None:
        """The most new tokens, if the client names it."""
        return self.max_tokens

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are reported; None without log-probabilities."""
        return self.logprobs


class TokenizeRequest(BaseModel):
    """The body of ``POST /tokenize``, as vLLM has it: messages in the chat format, or a text without it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    messages: Any = None
    prompt: str | None = None
    add_generation_prompt: bool = True


def read_request(kind: type[Body], data: bytes) -> Body:
    """Decode and validate the body of a request.

    Raises:
        RequestError: it is no JSON object, or a field is wrong, unknown or not supported.
    """
    try:
        body = json.loads(data)
        refuse_surrogates(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body of the request is not valid JSON: {error}.") from None
    if not isinstance(body, dict):
        raise RequestError("The body of the request is not a JSON object.")
    kept = {}
    for name, value in body.items():
        if name in _WITHOUT_EFFECT or value is None or value in _NEUTRAL.get(name, ()):
            continue
        if name not in kind.model_fields:
            raise RequestError(_refusal(name, value), field=name)
        kept[name] = value
    try:
        return kind.model_validate(kept)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or None
        reason = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"Field {field!r}: {reason}." if field else f"{reason}.", field=field) from None


def _refusal(name: str, value: Any) -> str:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    if name in _NEUTRAL:
        return f"Field {name!r} cannot be {shown} here: runs answer in text, once per request. Leave it out."
    return f"Field {name!r} is not supported here. Leave it out."
