"""What a server answered, as its own records keep it: batch outputs and logged chat completions."""

from dataclasses import dataclass
from typing import Any

from response_tuning.data.sources.batch_requests import is_batch_request
from response_tuning.support.records import preview

__all__ = ["Answer", "answer_of"]


@dataclass(frozen=True)
class Answer:
    """The answer to one request."""

    layout: str
    message: dict[str, Any]
    """The assistant's message."""
    field: str
    """Where it was read."""
    used: tuple[str, ...]
    """The fields of the row that it was made from."""
    request: object = None
    """The messages of the request, where the record holds them."""
    others: int = 0
    """Further choices."""


def answer_of(row: dict[str, Any]) -> Answer | None:
    """The answer that a row holds; None for a row of any other kind.

    Raises:
        ValueError: it is the record of a request alone, or of one that failed.
    """
    if is_batch_request(row):
        raise ValueError(
            "is a request of a batch, which holds no response: prepare the batch's output file, with --requests and "
            "this file's name for the prompts"
        )
    result = row.get("result")
    if "custom_id" in row and isinstance(result, dict) and "type" in result:  # Anthropic's batches
        return _anthropic(row, result)
    response = row.get("response")
    if "custom_id" in row and ("error" in row or isinstance(response, dict)):
        return _openai_batch(row, response)
    request = _messages_of(row.get("request"))
    if isinstance(response, dict) and request is not None:
        return _choices(response, "response", "chat completions (request, response)", ("request", "response"), request)
    if isinstance(row.get("choices"), list) and ("object" in row or "model" in row):
        return _choices(row, "", "chat completions (choices)", ("choices",), None)
    return None


def _messages_of(request: object) -> object:
    """The messages of a request, the system message that some protocols keep beside them first; None if it has none."""
    if isinstance(request, dict):
        request = request.get("body", request.get("params", request))
    if not isinstance(request, dict):
        return None
    # Chat completions and Anthropic; the Responses API; plain completions.
    asked = next((request[name] for name in ("messages", "input", "prompt") if request.get(name) is not None), None)
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    system = request.get("system", request.get("instructions"))
    if system and isinstance(messages, list):
        return [{"role": "system", "content": system}, *messages]
    return messages


def _openai_batch(row: dict[str, Any], response: object) -> Answer:
    error = row.get("error")
    if error or not isinstance(response, dict):
        raise ValueError(f"is a batch request that failed: {preview(error)}")
    status, body = response.get("status_code", 200), response.get("body")
    if status != 200 or not isinstance(body, dict):
        raise ValueError(f"is a batch request that failed with status {status}: {preview(body)}")
    used, asked = ("response", "error", "request"), _messages_of(row.get("request"))
    return _choices(body, "response.body", "the output of an OpenAI batch", used, asked)


def _choices(body: dict[str, Any], field: str, layout: str, used: tuple[str, ...], request: object) -> Answer:
    prefix = f"{field}." if field else ""
    choices = body.get("choices")
    if isinstance(body.get("output"), list):  # the Responses API
        texts = [item for item in body["output"] if isinstance(item, dict) and item.get("type") == "message"]
        if len(texts) == 1:
            _refuse_cut(body.get("status"))
            answer = {"role": "assistant", "content": texts[0].get("content")}
            return Answer(layout, answer, f"{prefix}output", used, request)
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError(f"field '{prefix}choices' holds no answer: {preview(choices)}")
    _refuse_cut(choices[0].get("finish_reason"))
    message = choices[0].get("message")
    if message is None and isinstance(choices[0].get("text"), str):  # the older endpoint of plain completions
        message = {"role": "assistant", "content": choices[0]["text"]}
    if not isinstance(message, dict):
        raise ValueError(f"field '{prefix}choices[0].message' is no message: {preview(message)}")
    message = {"role": "assistant", **message}
    return Answer(layout, message, f"{prefix}choices[0].message", used, request, len(choices) - 1)


def _anthropic(row: dict[str, Any], result: dict[str, Any]) -> Answer:
    message = result.get("message")
    if result["type"] != "succeeded" or not isinstance(message, dict):
        raise ValueError(f"is a batch request that failed: {preview(result)}")
    _refuse_cut(message.get("stop_reason"))
    message = {"role": "assistant", "content": message.get("content")}
    used, asked = ("result", "request"), _messages_of(row.get("request"))
    return Answer("the output of an Anthropic batch", message, "result.message", used, asked)


def _refuse_cut(reason: object) -> None:
    """Refuse an answer that ends where the server stopped: training on it teaches to end in mid-sentence."""
    if reason in ("length", "max_tokens", "incomplete", "content_filter"):
        raise ValueError(f"is an answer that the server cut off ({reason}), not a whole response")
