"""Roles and rules against a real server: two questions for each pair, none asked twice."""

import json
from pathlib import Path

import pytest

from response_tuning.data.recipes.recipe import Made, run_recipe
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.revision import MARKER
from response_tuning.synthesis.roles_and_rules import RolesAndRules, RolesAndRulesConfig
from tests.inference.faulty_server import FaultyServer, serve

SYSTEM = "You are a guide to Zug.\n- Answer in one sentence.\n- Mention the lake."


def config(tmp_path: Path, server: FaultyServer, **others: object) -> RolesAndRulesConfig:
    return RolesAndRulesConfig.model_validate(
        {
            "source": str(tmp_path / "pairs.jsonl"),
            "output": tmp_path / "rules.jsonl",
            "model": "openai-api/faulty/model",
            "base_url": server.url,
            "retries": 0,
            "concurrency": 1,
            **others,
        }
    )


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_API_KEY", "sk-test-0123456789abcdefghij")


def roles_and_rules(options: RolesAndRulesConfig) -> Made:
    made = run_recipe(RolesAndRules(), options)
    assert made is not None
    return made


def pairs(count: int) -> list[Example]:
    return [Example(prompt=f"What is in town {number}?", completion=f"A mill ({number}).") for number in range(count)]


def reply(question: str, _: int) -> str:
    if "Invent the system prompt" in question:
        return "I forgot the heading" if "What is in town 1?" in question else f"{MARKER}\n{SYSTEM}"
    return {
        "What is in town 2?": "I'm sorry, but I can't help with that.",
        "What is in town 3?": "(long) It goes on",
    }.get(question, f"By the lake you find {question.removeprefix('What is in ').rstrip('?')}.")


def test_each_pair_gets_a_system_prompt_and_a_response_under_it(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(5))
    with serve(reply) as server:
        result = roles_and_rules(config(tmp_path, server))
        assert len(server.asked) == 9
        assert roles_and_rules(config(tmp_path, server)).states == result.states
        assert len(server.asked) == 9
    assert result.states == {
        "made": 2,
        "left out, system prompt: no marker": 1,
        "left out, response: refused": 1,
        "left out, response: truncated": 1,
    }
    first, last = read_examples(tmp_path / "rules.jsonl")
    assert first.prompt == f"{SYSTEM}\n\nWhat is in town 0?"
    assert last.completion == "By the lake you find town 4."
    assert last.model_extra == {
        "system": SYSTEM,
        "source_prompt": "What is in town 4?",
        "source_completion": "A mill (4).",
    }


def test_the_system_prompt_is_sent_as_one(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(1))
    with serve(reply) as server:
        roles_and_rules(config(tmp_path, server))
    assert [message["role"] for message in server.bodies[-1]["messages"]] == ["system", "user"]
    assert server.bodies[-1]["messages"][0]["content"] == SYSTEM
    assert server.bodies[-1]["temperature"] == 0


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(5))
    with serve(reply) as server:
        roles_and_rules(config(tmp_path, server))
        ledger = tmp_path / "rules.audit.jsonl"
        lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
        ledger.write_text("".join(lines[:4]) + lines[4][:20], encoding="utf-8")
        roles_and_rules(config(tmp_path, server))
    assert len(server.asked) == 9 + 6
    assert len({json.loads(line).get("key") for line in ledger.read_text(encoding="utf-8").splitlines()}) == 10


def test_bare_responses_are_refused(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", [Example(completion="A mill.")])
    with serve(reply) as server, pytest.raises(UserError, match="no prompt, which making roles and rules needs"):
        roles_and_rules(config(tmp_path, server))


def test_where_nothing_was_made_nothing_is_written(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(2)[1:])
    with serve(reply) as server, pytest.raises(UserError, match="made no example"):
        roles_and_rules(config(tmp_path, server))
    assert not (tmp_path / "rules.jsonl").exists()
