"""The proof of an export, over HTTP: a server answers as the run does in this process, or it is not started.

The same comparison as for exported files (``export.proof``): the same prompt ids, and the same greedy tokens after the
same tokens. It asks as clients do, and vLLM understands the same questions.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from response_tuning.conversation import Conversation
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
    conversation: Conversation,
    *,
    engine: str,
    tolerance: float,
) -> Proof:
    """Compare a served run with the run in this process.

    Args:
        url: of the server, without a path.
        name: the run's name there.
        references: the run's prompts and answers.
        conversation: the run's chat format.
        engine: what generates, for the report.
        tolerance: the largest difference [nats] that counts as none.

    Raises:
        UserError: the server answers differently, or not at all.
    """
    asked = http_engine(url, name, engine=engine, stop_ids=conversation.stop_token_ids)
    proof = prove(references, asked, file=name, tolerance=tolerance, dialogues=[make_dialogue(conversation)])
    if not proof.holds:
        raise UserError(f"The server does not answer as the run does, so it was not started. {proof}")
    for reference in references:
        _require_same_text(url, name, reference, asked, conversation)
    return proof


def http_engine(url: str, name: str, *, engine: str, stop_ids: Sequence[int]) -> Engine:
    """A server that has ``/tokenize`` and ``/v1/completions`` for token ids, as this one and vLLM have."""

    def render(prompt: str | Messages) -> list[int]:
        body = {"model": name, "messages": messages_of(prompt), "add_special_tokens": False}
        return list(_post(f"{url}/tokenize", body)["tokens"])

    def answer(ids: list[int], new_tokens: int) -> Continuation:
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


def _require_same_text(url: str, name: str, reference: Reference, asked: Engine, conversation: Conversation) -> None:
    """Require that a chat completion, whole and streamed, is the text of the tokens that were compared.

    Raises:
        UserError: it is another text.
    """
    limit = len(reference.answer.token_ids)
    tokens = asked.answer(reference.prompt_ids, limit).token_ids
    expected = conversation.decode([token for token in tokens if token not in conversation.stop_token_ids])
    body = {
        "model": name,
        "messages": messages_of(reference.instruction),
        "max_tokens": limit,
        "temperature": 0,
    }
    (choice,) = _post(f"{url}/v1/chat/completions", body)["choices"]
    texts = {"whole": choice["message"]["content"], "streamed": _streamed(f"{url}/v1/chat/completions", body)}
    for how, text in texts.items():
        if text.strip() != expected:
            raise UserError(
                f"The server was not started: the {how} chat completion of {name} to {reference.instruction!r} is "
                f"{text!r}, and the run answers {expected!r}."
            )


def _streamed(url: str, body: dict[str, Any]) -> str:
    with _open(url, {**body, "stream": True}) as response:
        events = [line[6:] for line in response.read().decode().splitlines() if line.startswith("data: ")]
    choices = [choice for event in events if event != "[DONE]" for choice in json.loads(event).get("choices", [])]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


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
