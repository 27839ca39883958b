"""What is paid for once is never asked again, and what was not answered is asked again as the messages say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import ERROR, REFUSED_QUESTION, ask_once, failure_state, forecast, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.support.errors import UserError
from tests.inference.faulty_server import FaultyServer, serve

MODEL = "openai-api/faulty/model"
IDENTITY = {"command": "test"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_API_KEY", "sk-test-0123456789abcdefghij")


def questions(texts: list[str], *, max_tokens: int = 50) -> list[Question]:
    return [
        Question(key=question_key(text), text=text, max_tokens=max_tokens, expected_characters=10) for text in texts
    ]


def options(server: FaultyServer, **others: object) -> AskOptions:
    values = {"model": MODEL, "base_url": server.url, "retries": 0, "concurrency": 1} | others
    return AskOptions.model_validate(values)


def row_of(_: Question, outcome: Answer | Failure) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"state": failure_state(outcome), "detail": outcome.reason}
    state = "truncated" if outcome.ending == "truncated" else "unparsed" if "?" in outcome.text else "read"
    return {"state": state}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., list[str]]:
    """Ask texts with options, and return the states."""

    def ask(server: FaultyServer, texts: list[str], *, max_tokens: int = 50, **others: object) -> list[str]:
        asked = questions(texts, max_tokens=max_tokens)
        rows = ask_once(asked, tmp_path / "ledger.jsonl", IDENTITY, options(server, **others), row_of)
        return [row["state"] for row in rows]

    return ask


Ask = Callable[..., list[str]]


def test_keys_of_asked_rows_are_their_texts(ask: Ask) -> None:
    texts = [f"Question {number}" for number in range(6)]
    with serve(lambda *_: "Yes") as server:
        assert ask(server, texts) == ["read"] * 6
        assert ask(server, [*texts[1:], texts[1]], timeout_seconds=9, concurrency=3) == ["read"] * 6
    with serve(lambda *_: "Yes") as elsewhere:  # another port
        assert ask(elsewhere, texts[::-1], max_tokens=20) == ["read"] * 6
        assert elsewhere.asked == []
        assert ask(elsewhere, texts[:1], model="openai-api/faulty/other") == ["read"]
        assert ask(elsewhere, texts[:1]) == ["read"]
        assert len(elsewhere.asked) == 1
    assert len(server.asked) == 6


def test_rejected_prompts_are_states_of_their_rows(ask: Ask) -> None:
    """60 over-long rows come first, since the longest are asked first; one row is moderated."""
    texts = [*(f"{number} {'long ' * 50}" for number in range(60)), "moderated", *(f"{number}" for number in range(39))]

    def reply(question: str, _: int) -> str:
        return "status 400" if "long" in question else "status 403" if question == "moderated" else "Yes"

    with serve(reply) as server:
        states = ask(server, texts)
        assert [states.count(state) for state in (REFUSED_QUESTION, "read")] == [61, 39]
        assert len(server.asked) == 100
        assert ask(server, texts) == states
        assert len(server.asked) == 100
    with serve(lambda *_: "Yes") as larger:  # a server with more context
        assert ask(larger, texts, retry_errors=True) == ["read"] * 100
        assert len(larger.asked) == 61


@pytest.mark.parametrize("status", [400, 403])
def test_rejected_prompts_are_no_rows_where_a_setting_is_rejected(ask: Ask, tmp_path: Path, status: int) -> None:
    texts = [f"Question {number}" for number in range(50)]
    with serve(lambda *_: f"status {status}") as server, pytest.raises(UserError, match="refused to answer 20 times"):
        ask(server, texts)
    assert len(server.asked) == 20
    assert (tmp_path / "ledger.jsonl").read_bytes().count(b"\n") == 1
    with serve(lambda *_: "Yes") as server:
        assert ask(server, texts) == ["read"] * 50


@pytest.mark.parametrize("status", [401, 402, 404])
def test_rejected_keys_and_models_stop_the_job(ask: Ask, status: int) -> None:
    with serve(lambda *_: f"status {status}") as server, pytest.raises(UserError, match=f"status {status}"):
        ask(server, [f"Question {number}" for number in range(9)])
    assert len(server.asked) == 1


@pytest.mark.parametrize(("fault", "retries", "calls"), [("status 429", 0, 1), ("status 500", 0, 1), ("hang", 0, 1)])
def test_retries_are_the_calls_beside_the_first(ask: Ask, fault: str, retries: int, calls: int) -> None:
    with serve(lambda *_: fault, hang_seconds=3) as server:
        assert ask(server, ["Hello"], retries=retries, timeout_seconds=1) == [ERROR]
        assert len(server.asked) == calls


def test_28_judge_cut_off_512_is_a_state_and_asked_again_when_the_limit_grows(ask: Ask) -> None:
    with serve(lambda question, before: "(long) I think" if question == "Why" and before < 2 else "Yes") as server:
        assert ask(server, ["Why", "What"]) == ["truncated", "read"]
        assert ask(server, ["Why", "What"], retry_errors=True, retry_unparsed=True) == ["truncated", "read"]
        assert ask(server, ["Why", "What"], max_tokens=40) == ["truncated", "read"]
        assert server.counts == {"Why": 1, "What": 1}
        assert ask(server, ["Why", "What"], max_tokens=60) == ["truncated", "read"]
        assert ask(server, ["Why", "What"], max_tokens=70) == ["read", "read"]
        assert ask(server, ["Why", "What"], max_tokens=80) == ["read", "read"]
        assert server.counts == {"Why": 3, "What": 1}


def test_28_judge_cut_off_512_unparsed_answers_are_asked_again_alone(ask: Ask) -> None:
    texts = ["unreadable", "failing", "fine"]
    is_well = False

    def reply(question: str, _: int) -> str:
        if question == "fine" or is_well:
            return "Yes"
        return "status 500" if question == "failing" else "?"

    with serve(reply) as server:
        assert ask(server, texts) == ["unparsed", ERROR, "read"]
        before = len(server.asked)
        is_well = True
        assert ask(server, texts, retry_unparsed=True) == ["read", ERROR, "read"]
        assert server.asked[before:] == ["unreadable"]
        assert ask(server, texts, retry_errors=True) == ["read", "read", "read"]
        assert server.asked[before:] == ["unreadable", "failing"]


def test_overwriting_a_better_outcome_is_no_effect_of_asking_again(ask: Ask) -> None:
    with serve(lambda question, _: "(long) I" if question == "Why" else "?") as server:
        assert ask(server, ["Why", "What"]) == ["truncated", "unparsed"]
    with serve(lambda *_: "status 500") as server:
        assert ask(server, ["Why", "What"], max_tokens=60, retry_unparsed=True) == ["truncated", "unparsed"]
        assert len(server.asked) == 2


@pytest.mark.parametrize("system", ["", "Be kind."])
def test_keys_of_asked_rows_of_earlier_versions_are_found(tmp_path: Path, system: str) -> None:
    """Earlier keys held the row's number, and their first line the address and the limits."""
    digest = question_key("Hello", system=system).removeprefix("answer ")
    identity = {**IDENTITY, "model": MODEL, "base_url": "http://127.0.0.1:1", "max_tokens": 50, "shortest_share": 0.5}
    row = {"key": f"{'answer ' if system else ''}3:{digest}", "state": "read", "answer": "Yes", "seconds": 2.0}
    row |= {"input_tokens": 4, "output_tokens": 3}
    lines = [{"identity": identity}, row]
    (tmp_path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    question = Question(
        key=question_key("Hello", system=system), text="Hello", system=system, max_tokens=50, expected_characters=9
    )
    asking = AskOptions(model=MODEL, base_url="http://127.0.0.1:9")
    assert forecast([question], tmp_path / "ledger.jsonl", IDENTITY, asking).questions == 0
    (kept,) = ask_once([question], tmp_path / "ledger.jsonl", IDENTITY, asking, row_of)
    assert (kept["answer"], kept["ending"], kept["state"]) == ("Yes", "finished", "read")
    other = AskOptions(model="openai-api/faulty/other")
    assert forecast([question], tmp_path / "ledger.jsonl", IDENTITY, other).questions == 1


def test_a_judge_trained_anew_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = "first"
    monkeypatch.setattr("response_tuning.asking.ask_once.model_fingerprint", lambda _spec: fingerprint)
    path = tmp_path / "ledger.jsonl"
    with serve(lambda *_: "Yes") as server:
        ask_once(questions(["Hello"]), path, IDENTITY, options(server), row_of)
        fingerprint = "second"
        assert forecast(questions(["Hello"]), path, IDENTITY, options(server)).questions == 1
        ask_once(questions(["Hello"]), path, IDENTITY, options(server), row_of)
        fingerprint = "first"
        moved = options(server, model="openai-api/faulty/moved")
        assert forecast(questions(["Hello"]), path, IDENTITY, moved).questions == 0
    assert len(server.asked) == 2


def test_a_users_text_goes_out_and_comes_back_unaltered(ask: Ask, tmp_path: Path) -> None:
    key = "sk-test-0123456789abcdefghij"
    text = f"pk_department_employees, Bearer YOUR_ACCESS_TOKEN_HERE, {key}, [bold]x[/bold], \u8336\u2028\r\n"
    with serve(lambda question, _: question) as server:
        ask(server, [text])
    assert server.asked == [text]
    row = json.loads((tmp_path / "ledger.jsonl").read_bytes().split(b"\n")[1])
    assert row["answer"] == text
    assert not re.search("base_url|127", (tmp_path / "ledger.jsonl").read_text(encoding="utf-8"))
