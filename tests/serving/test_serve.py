"""Runs served over HTTP answer as they do in this process, to every kind of client."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from openai import OpenAI

from tests.serving.conftest import Served

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


@pytest.fixture(scope="module")
def expected(served: Served) -> dict[tuple[str, str], str]:
    """What each run answers alone, merged, in this process."""
    texts = {(name, prompt): served.expected(name, prompt) for name in served.runs for prompt in PROMPTS}
    for prompt in PROMPTS:
        assert len({texts[name, prompt] for name in served.runs}) == len(served.runs)
    return texts


def test_sixteen_clients_at_once_get_their_own_runs_greedy_text_streamed_and_whole(
    served: Served, expected: dict[tuple[str, str], str]
) -> None:
    client = OpenAI(base_url=f"{served.url}/v1", api_key="none")

    def ask(number: int) -> tuple[tuple[str, str], str]:
        name, prompt = ("base", "rt", "it")[number % 3], PROMPTS[number % 4]
        messages: Any = [{"role": "user", "content": prompt}]
        if number % 2:
            chunks = client.chat.completions.create(model=name, messages=messages, stream=True)
            return (name, prompt), "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        whole = client.chat.completions.create(model=name, messages=messages)
        return (name, prompt), whole.choices[0].message.content or ""

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(48)))
    assert [text for _, text in answers] == [expected[key] for key, _ in answers]
    assert {key for key, _ in answers} == set(expected)


def test_the_base_model_is_in_memory_once(served: Served) -> None:
    assert len({id(run.weights.model) for run in served.loaded}) == 1
