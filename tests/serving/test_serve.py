"""Runs served over HTTP answer as they do in this process, to every kind of client."""

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from inspect_ai.model import get_model
from openai import OpenAI

from response_tuning.serving.served_run import ServedRun
from tests.serving.conftest import NEW_TOKENS, Served

PROMPTS = ["What is rain?", "Name a colour.", "Why do birds sing in the morning?", "Write a list of three rivers."]


def post(url: str, body: object, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json", **headers}), timeout=60) as response:
        return json.loads(response.read())


def refusal(url: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(HTTPError) as caught:
        post(url, body, **headers)
    return caught.value.code, json.loads(caught.value.read())["error"]


def chat_body(model: str, prompt: str, **options: object) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **options}


def by_name(served: Served) -> dict[str, ServedRun]:
    return {run.name: run for run in served.loaded}


@pytest.fixture(scope="module")
def expected(served: Served) -> dict[tuple[str, str], str]:
    """What each run answers alone, merged, in this process."""
    texts = {(name, prompt): served.expected(name, prompt) for name in served.runs for prompt in PROMPTS}
    answers = {tuple(texts[name, prompt] for prompt in PROMPTS) for name in served.runs}
    assert len(answers) == len(served.runs), "no run answers like another"
    return texts


def test_sixteen_clients_at_once_get_their_own_runs_greedy_text_streamed_and_whole(
    served: Served, expected: dict[tuple[str, str], str]
) -> None:
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none")

    names = list(served.runs)

    def ask(number: int) -> tuple[tuple[str, str], str]:
        name, prompt = names[number % 5], PROMPTS[number % 4]
        messages: Any = [{"role": "user", "content": prompt}]
        if number % 3:
            chunks = client.chat.completions.create(model=name, messages=messages, stream=True)
            return (name, prompt), "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        whole = client.chat.completions.create(model=name, messages=messages)
        return (name, prompt), whole.choices[0].message.content or ""

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(60)))
    assert [text for _, text in answers] == [expected[key] for key, _ in answers]
    assert {key for key, _ in answers} == set(expected)


def test_the_base_model_is_in_memory_once(served: Served) -> None:
    assert len({id(run.weights.model) for run in served.loaded}) == 1


def test_raw_http_gets_the_protocols_fields(served: Served, expected: dict[tuple[str, str], str]) -> None:
    reply = post(f"{served.url}/v1/chat/completions", chat_body("rt", PROMPTS[0]))
    (choice,) = reply["choices"]
    assert reply["object"] == "chat.completion"
    assert reply["model"] == "rt"
    assert choice["message"] == {"role": "assistant", "content": expected["rt", PROMPTS[0]], "refusal": None}
    assert choice["finish_reason"] == "length"
    usage = reply["usage"]
    assert usage["completion_tokens"] == NEW_TOKENS
    assert usage["total_tokens"] == usage["prompt_tokens"] + NEW_TOKENS
    with urlopen(f"{served.url}/v1/models") as response:
        listed = json.loads(response.read())
    assert [model["id"] for model in listed["data"]] == list(served.runs)
    assert {model["max_model_len"] for model in listed["data"]} == {2048}
    with urlopen(f"{served.url}/v1/models/rt") as response:
        assert json.loads(response.read()) == listed["data"][3]


def test_a_stream_ends_in_its_reason_its_usage_and_done(served: Served, expected: dict[tuple[str, str], str]) -> None:
    body = chat_body("it", PROMPTS[1], stream=True, stream_options={"include_usage": True})
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    with urlopen(Request(f"{served.url}/v1/chat/completions", data, headers)) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in response.read().decode().split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == NEW_TOKENS
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]]
    assert "".join(texts) == expected["it", PROMPTS[1]]
    assert len(texts) > 5


def test_a_stop_string_ends_the_response_before_it_and_is_never_streamed_in_part(
    served: Served, expected: dict[tuple[str, str], str]
) -> None:
    text = expected["rt", PROMPTS[0]]
    stop = text[10:14]
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none")
    messages: Any = [{"role": "user", "content": PROMPTS[0]}]
    whole = client.chat.completions.create(model="rt", messages=messages, stop=["not in it", stop])
    chunks = list(client.chat.completions.create(model="rt", messages=messages, stop=stop, stream=True))
    assert whole.choices[0].message.content == text[: text.index(stop)].strip()
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_sampling_follows_its_seed_whatever_is_in_the_batch(served: Served) -> None:
    def sample(seed: int, temperature: float = 1.0, **options: object) -> str:
        body = chat_body("rt", PROMPTS[0], temperature=temperature, seed=seed, max_tokens=12, **options)
        return str(post(f"{served.url}/v1/chat/completions", body)["choices"][0]["message"]["content"])

    first = sample(1)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(sample, [1, 2, 3, 1, 4, 5]))
    assert together[0] == together[3] == first
    assert len(set(together)) == 5
    greedy = post(f"{served.url}/v1/chat/completions", chat_body("rt", PROMPTS[0], max_tokens=12))
    assert sample(1, top_p=1e-6) == greedy["choices"][0]["message"]["content"]
    repeated = post(f"{served.url}/v1/chat/completions", chat_body("rt", PROMPTS[0], presence_penalty=2))
    assert repeated["choices"][0]["message"]["content"] != greedy["choices"][0]["message"]["content"]


def test_log_probabilities_are_those_of_the_model(served: Served) -> None:
    body = chat_body("rt", PROMPTS[0], logprobs=True, top_logprobs=3, max_tokens=4)
    listed = post(f"{served.url}/v1/chat/completions", body)["choices"][0]["logprobs"]["content"]
    assert len(listed) == 4
    for token in listed:
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert token["top_logprobs"][0]["logprob"] == token["logprob"] <= 0
        assert [other["logprob"] for other in token["top_logprobs"]] == sorted(
            (other["logprob"] for other in token["top_logprobs"]), reverse=True
        )


def test_control_tokens_in_a_users_text_are_ordinary_text(served: Served) -> None:
    run = by_name(served)["rt"]
    text = "What is </s> and <|im_end|>?"
    body = {"model": "rt", "messages": [{"role": "user", "content": text}]}
    ids = post(f"{served.url}/tokenize", body)["tokens"]
    assert ids == run.conversation.prompt_ids(text)
    assert run.conversation.tokenizer.eos_token_id not in ids


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"{", 400, "not valid JSON"),
        (rb'{"model": "rt", "messages": [{"role": "user", "content": "a\ud83d"}]}', 400, "has a lone surrogate"),
        (b"[]", 400, "not a JSON object"),
        ({"model": "rt"}, 400, "Field 'messages': Field required."),
        ({"messages": []}, 400, "Field 'model' is missing. This server has: shown, ruled, base, rt, it."),
        (chat_body("gpt-5", "hi"), 404, "There is no model 'gpt-5' here. This server has: shown, ruled, base, rt, it."),
        (chat_body("rt", "hi", n=2), 400, "Field 'n' cannot be 2 here"),
        (chat_body("rt", "hi", tools=[{"type": "function"}]), 400, "Field 'tools' cannot be"),
        (chat_body("rt", "hi", temperature=3), 400, "Field 'temperature'"),
        (chat_body("rt", "hi", colour="red"), 400, "Field 'colour' is not supported here."),
        (chat_body("rt", "hi", top_logprobs=2), 400, "top_logprobs needs logprobs"),
        ({"model": "rt", "messages": "hi"}, 400, "Field 'messages' is a string, not a list"),
        ({"model": "rt", "messages": []}, 400, "Field 'messages' is empty"),
        ({"model": "rt", "messages": [{"role": "assistant", "content": "a"}]}, 400, "has to be the user's."),
        ({"model": "rt", "messages": [{"role": "tool", "content": "a"}]}, 400, "runs have no tools."),
        (
            {"model": "rt", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "a part of the type 'image_url'",
        ),
    ],
)
def test_a_bad_request_gets_a_sentence(served: Served, body: object, status: int, sentence: str) -> None:
    code, error = refusal(f"{served.url}/v1/chat/completions", body)
    assert (code, error["type"]) == (status, "invalid_request_error")
    assert sentence in error["message"]


def test_a_prompt_that_is_too_long_gets_a_sentence_and_one_that_fits_is_answered_to_the_end_of_the_context(
    served: Served,
) -> None:
    code, error = refusal(f"{served.url}/v1/chat/completions", chat_body("rt", "rain " * 3000))
    assert (code, error["code"]) == (400, "context_length_exceeded")
    assert "context of rt has 2,048: none is left for a response" in error["message"]
    prompt = [5] * 2044
    reply = post(f"{served.url}/v1/completions", {"model": "rt", "prompt": prompt, "max_tokens": 50})
    assert reply["usage"]["completion_tokens"] <= 4
    assert refusal(f"{served.url}/v1/completions", {"model": "rt", "prompt": [5] * 2048})[0] == 400


def test_a_system_message_and_earlier_turns_are_encoded_as_in_training(served: Served) -> None:
    from response_tuning.export.proof.proof import make_dialogue

    messages, ids = make_dialogue(by_name(served)["it"].conversation)
    assert post(f"{served.url}/tokenize", {"model": "it", "messages": messages})["tokens"] == ids


def test_a_page_of_another_site_cannot_use_the_server(served: Served) -> None:
    body = json.dumps(chat_body("rt", "hi")).encode()
    code, _ = refusal(f"{served.url}/v1/chat/completions", body, **{"Content-Type": "text/plain"})
    assert code == 415


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_response(served: Served, stream: bool) -> None:
    body = json.dumps(chat_body("base", PROMPTS[0], stream=stream, max_tokens=900)).encode()
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: not served.engine.is_idle)
    begin = time.monotonic()
    wait_until(lambda: served.engine.is_idle)
    assert time.monotonic() - begin < 1.5


def wait_until(holds: Any, *, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_inspect_gets_the_same_text(served: Served, expected: dict[tuple[str, str], str]) -> None:
    async def ask() -> list[str]:
        models = [
            get_model(f"openai-api/here/{name}", base_url=f"{served.url}/v1", api_key="none") for name in served.runs
        ]
        return [(await model.generate(PROMPTS[2])).completion for model in models]

    assert asyncio.run(ask()) == [expected[name, PROMPTS[2]] for name in served.runs]
