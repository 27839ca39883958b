"""The proof of an export, over HTTP: a server answers as the run does in this process, or it is not started.

The same comparison as for exported files (``export.proof``): the same prompt ids, and the same greedy tokens after the
same tokens. It asks as clients do, and vLLM understands the same questions.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from response_tuning.export.proof.proof import (
    Continuation,
    Engine,
    Messages,
    Proof,
    Reference,
    make_dialogue,
    messages_of,
    prove,
)
from response_tuning.inference.responder import Responder
from response_tuning.support.errors import UserError
from response_tuning.support.options import Dtype

__all__ = ["http_engine", "prove_served", "tolerance_of"]

_SECONDS = 600
_TOLERANCES: dict[Dtype, float] = {"float32": 0.001, "bfloat16": 0.3}
"""Nats. A merged adapter in bf16 is rounded with the weights that it is added to, and an unmerged one is not."""


def tolerance_of(dtype: Dtype) -> float:
    """The largest difference of log-probabilities [nats] that counts as none."""
    return _TOLERANCES.get(dtype, _TOLERANCES["bfloat16"])


def prove_served(
    url: str,
    name: str,
    references: Sequence[Reference],
    responder: Responder,
    *,
    engine: str,
    tolerance: float,
) -> Proof:
    """Compare a served run with the run in this process.

    Args:
        url: of the server, without a path.
        name: the run's name there.
        references: the run's prompts and answers.
        responder: how the run is asked.
        engine: what generates, for the report.
        tolerance: the largest difference [nats] that counts as none.

    Raises:
        UserError: the server answers differently, or not at all.
    """
    conversation = responder.conversation
    asked = http_engine(url, name, engine=engine, stop_ids=conversation.stop_token_ids)
    with ThreadPoolExecutor(len(references)) as pool:  # at once, as clients come
        list(pool.map(lambda reference: asked.answer(*_first_question(reference)), references))
    proof = prove(references, asked, file=name, tolerance=tolerance, dialogues=[make_dialogue(conversation)])
    if not proof.holds:
        raise UserError(f"The server does not answer as the run does, so it was not started. {proof}")

    def require(number: int) -> None:
        _require_text_of_its_tokens(url, name, references[number], responder, streamed=number % 2 == 1)

    with ThreadPoolExecutor(len(references)) as pool:
        list(pool.map(require, range(len(references))))
    return proof


def _first_question(reference: Reference) -> tuple[list[int], int]:
    """What ``prove`` asks first."""
    return reference.prompt_ids, len(reference.answer.token_ids)


def http_engine(url: str, name: str, *, engine: str, stop_ids: Sequence[int]) -> Engine:
    """A server that has ``/tokenize`` and ``/v1/completions`` for token ids, as this one and vLLM have."""

    def render(prompt: str | Messages) -> list[int]:
        body = {"model": name, "messages": messages_of(prompt), "add_special_tokens": False}
        return list(_post(f"{url}/tokenize", body)["tokens"])

    known: dict[tuple[int, ...], Continuation] = {}

    def answer(ids: list[int], new_tokens: int) -> Continuation:
        key = (new_tokens, *ids)
        if key not in known:
            known[key] = complete(ids, new_tokens)
        return known[key]

    def complete(ids: list[int], new_tokens: int) -> Continuation:
        body = {
            "model": name,
            "prompt": ids,
            "max_tokens": new_tokens,
            "temperature": 0,
            "logprobs": 1,
            "return_tokens_as_token_ids": True,
        }
        (choice,) = _post(f"{url}/v1/completions", body)["choices"]
        tokens = [int(token.removeprefix("token_id:")) for token in choice["logprobs"]["tokens"]]
        scores: list[float | None] = list(choice["logprobs"]["token_logprobs"])
        if choice["finish_reason"] == "stop" and not (tokens and tokens[-1] in stop_ids):
            tokens, scores = [*tokens, stop_ids[0]], [*scores, None]  # a server that does not list the stop token
        return Continuation([stop_ids[0] if token in stop_ids else token for token in tokens], scores)

    return Engine(engine, render, answer)


def _require_text_of_its_tokens(
    url: str, name: str, reference: Reference, responder: Responder, *, streamed: bool
) -> None:
    """Require that a chat completion has the run's prompt, and the text of its own tokens as the run decodes them.

    Not the text of the tokens that were compared: in another batch, a near-tie may go the other way.

    Raises:
        UserError: it has another prompt or another text.
    """
    body = {
        "model": name,
        "messages": messages_of(reference.instruction),
        "temperature": 0,
        "max_tokens": len(reference.answer.token_ids),
        "logprobs": True,
        "return_tokens_as_token_ids": True,
    }
    text, tokens, prompt_tokens = (_streamed if streamed else _whole)(f"{url}/v1/chat/completions", body)
    expected = _text(responder, tokens)
    if text.strip() != expected or prompt_tokens != len(reference.prompt_ids):
        raise UserError(
            f"The server was not started: the chat completion of {name} to {reference.instruction!r} is {text!r} after "
            f"{prompt_tokens} tokens of prompt, and the run's is {expected!r} after {len(reference.prompt_ids)}."
        )


def _text(responder: Responder, tokens: Sequence[int]) -> str:
    conversation = responder.conversation
    text = conversation.generated_text([token for token in tokens if token not in conversation.stop_token_ids])
    return text.strip() if responder.stops is None else responder.stops.cut(text)[0]


def _whole(url: str, body: dict[str, Any]) -> tuple[str, list[int], int]:
    """The text, the token ids and the number of tokens of the prompt of a chat completion."""
    reply = _post(url, body)
    (choice,) = reply["choices"]
    return str(choice["message"]["content"]), _chat_ids(choice), int(reply["usage"]["prompt_tokens"])


def _streamed(url: str, body: dict[str, Any]) -> tuple[str, list[int], int]:
    """The same of a stream."""
    with _open(url, {**body, "stream": True, "stream_options": {"include_usage": True}}) as response:
        lines = response.read().decode().splitlines()
    events = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    usage = next(chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage"))
    return text, [token for choice in choices for token in _chat_ids(choice)], int(usage["prompt_tokens"])


def _chat_ids(choice: dict[str, Any]) -> list[int]:
    listed = (choice.get("logprobs") or {}).get("content") or []
    return [int(token["token"].removeprefix("token_id:")) for token in listed]


def _post(url: str, body: dict[str, Any]) -> Any:
    with _open(url, body) as response:
        return json.loads(response.read())


def _open(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        return urlopen(request, timeout=_SECONDS)
    except HTTPError as error:
        reason = error.read().decode(errors="replace").strip()
        raise UserError(f"The server was not started: {url} answers with status {error.code}: {reason}") from error
    except (URLError, OSError) as error:
        raise UserError(f"The server was not started: {url} does not answer: {error}") from error
