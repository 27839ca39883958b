"""The output file of a batch with the prompts of its input file."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.data.prepare import PrepareConfig, prepare
from response_tuning.example import read_examples
from response_tuning.support.errors import UserError


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def asked(name: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", **body}}


def answered(name: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    body = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return {"id": "x", "custom_id": name, "response": {"status_code": 200, "body": body}, "error": None}


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def prepared(tmp_path: Path, requests: list[dict[str, Any]], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    source, asked_file = write(tmp_path / "out.jsonl", *answers), write(tmp_path / "in.jsonl", *requests)
    prepare(PrepareConfig(source=str(source), requests=asked_file, output=tmp_path / "examples.jsonl"))
    names = {"prompt", "completion", "earlier_turns"}
    return [row.model_dump(exclude_unset=True, include=names) for row in read_examples(tmp_path / "examples.jsonl")]


def test_case_09_answers_in_any_order_get_their_own_prompts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    requests = [asked(f"q-{number}", messages=user(f"What is {number}?")) for number in range(3)]
    rows = prepared(tmp_path, requests, [answered("q-2", "Two."), answered("q-0", "Nil.")])
    assert rows == [{"prompt": "What is 2?", "completion": "Two."}, {"prompt": "What is 0?", "completion": "Nil."}]
    assert "1 of 3 requests have no response (the first: 'q-1')" in caplog.text


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "system", "content": "Be kind."}, *user("Hi?")]},
        {"messages": user("Hi?"), "system": "Be kind."},  # Anthropic
        {"messages": user("Hi?"), "system": [{"type": "text", "text": "Be kind."}]},
        {"input": "Hi?", "instructions": "Be kind."},  # the Responses API
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi?"}]}], "instructions": "Be kind."},
        {"prompt": "Be kind.\n\nHi?"},  # plain completions
    ],
)
def test_the_request_of_every_protocol_is_the_prompt_with_its_system_message(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    assert prepared(tmp_path, [asked("a", **body)], [answered("a", "Hello.")]) == [
        {"prompt": "Be kind.\n\nHi?", "completion": "Hello."}
    ]


def test_an_anthropic_batch_has_its_prompts(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn"}
    request = {"custom_id": "a", "params": {"system": "Be kind.", "messages": user("Hi?")}}
    answer = {"custom_id": "a", "result": {"type": "succeeded", "message": message}}
    assert prepared(tmp_path, [request], [answer]) == [{"prompt": "Be kind.\n\nHi?", "completion": "Hello."}]


@pytest.mark.parametrize(
    ("requests", "answers", "message"),
    [
        ([asked("a", messages=user("q"))], [answered("b", "x")], r"out\.jsonl:1: has custom_id 'b', which .* lacks"),
        ([asked("a", messages=user("q"))] * 2, [answered("a", "x")], r"in\.jsonl:2: custom_id 'a' is that of .*:1 too"),
        ([answered("a", "x")], [answered("a", "x")], r"in\.jsonl:1: is no request of a batch"),
        ([asked("a", messages=user("q"))], [{"completion": "x"}], r"out\.jsonl:1: has no field 'custom_id'"),
        ([asked("a", messages=user("q"))], [asked("a", messages=user("q"))], "name the output file, then --requests"),
        ([], [answered("a", "x")], "holds no rows"),
    ],
)
def test_what_belongs_to_no_request_is_named_by_its_place(
    tmp_path: Path, requests: list[dict[str, Any]], answers: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        prepared(tmp_path, requests, answers)
    assert not (tmp_path / "examples.jsonl").exists()


def test_the_advice_for_a_requests_file_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    requests = write(tmp_path / "in.jsonl", asked("a", messages=user("q")))
    answers = write(tmp_path / "out.jsonl", answered("a", "x"))
    command = ["data", "prepare", "--output", str(tmp_path / "e.jsonl")]
    assert main([*command, str(requests)]) == 2
    assert "with --requests and this file's name for the prompts" in " ".join(capsys.readouterr().err.split())
    assert main([*command, str(answers), "--requests", str(requests)]) == 0
    assert main(["data", "prepare", "starter", "--requests", str(requests), "--output", str(tmp_path / "f.jsonl")]) == 2
    assert "--requests belongs to the output file of a batch" in capsys.readouterr().err
    assert main(["data", "prepare", str(answers), "--requests", str(requests), "--output", str(requests)]) == 2
