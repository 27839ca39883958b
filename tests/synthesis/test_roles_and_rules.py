"""Roles and rules against a real server: rules are checked, broken ones answered once more, none asked twice."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from response_tuning.data.recipes.recipe import Made, run_recipe
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.roles_and_rules import RolesAndRules, RolesAndRulesConfig
from tests.inference.faulty_server import FaultyServer, serve
from tests.synthesis.feedback_log import section_of

LAKE, SHORT = "Mention the lake.", "Answer in one sentence."


def config(tmp_path: Path, server: FaultyServer, **others: object) -> RolesAndRulesConfig:
    values: dict[str, object] = {"fewest_rules": 2, "most_rules": 2, "retries": 0, "concurrency": 1}
    return RolesAndRulesConfig.model_validate(
        {
            "source": str(tmp_path / "pairs.jsonl"),
            "output": tmp_path / "rules.jsonl",
            "model": "openai-api/faulty/model",
            "base_url": server.url,
            **values,
            **others,
        }
    )


def roles_and_rules(options: RolesAndRulesConfig) -> Made:
    made = run_recipe(RolesAndRules(), options)
    assert made is not None
    return made


def pairs(count: int) -> list[Example]:
    return [Example(prompt=f"What is in town {number}?", completion=f"A mill ({number}).") for number in range(count)]


def is_invention(question: str) -> bool:
    return "Invent the system prompt" in question


def is_check(question: str) -> bool:
    return "keep a rule in its answer" in question


def invented(question: str, role: str, *rules: str) -> str:
    marker = question.rstrip().rpartition("\n")[2]
    return "\n".join([marker, role, *(f"- {rule}" for rule in rules)])


def checked(question: str) -> str:
    """A rule about the lake is kept by an answer with the lake."""
    is_kept = section_of(question, "rule") == SHORT or "lake" in section_of(question, "answer")
    code = re.findall(r"VERDICT ([0-9A-F]{4}):", question)[-1]
    return f"It says so.\nVERDICT {code}: {'KEPT' if is_kept else 'BROKEN'}"


def town_of(question: str) -> str:
    return str(re.findall(r"in town (\d+)", question)[0])


def reply(question: str, before: int) -> str:
    if is_invention(question):
        town = town_of(question)
        if town == "1":
            return "I forgot the heading"
        rules = (SHORT,) if town == "5" else (SHORT, LAKE)
        return invented(question, f"You are a guide to town {town}.", *rules)
    if is_check(question):
        return checked(question)
    # An answer that was asked for before breaks the rule the first time, or always.
    return {
        "2": "I'm sorry, but I can't help with that.",
        "3": "(long) It goes on",
        "4": "A church.",
        "6": "A church." if before == 0 else "A church by the lake.",
    }.get(town_of(question), f"By the lake you find town {town_of(question)}.")


def test_each_pair_ends_kept_regenerated_dropped_or_left_out(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(7))
    with serve(reply) as server:
        result = roles_and_rules(config(tmp_path, server))
        asked = len(server.asked)
        assert roles_and_rules(config(tmp_path, server)).states == result.states
        assert len(server.asked) == asked
        again = [body for body in server.bodies if "An earlier answer broke" in str(body["messages"][0])]
    assert result.states == {
        "left out, role and rules: no marker": 1,
        "left out, response: refused": 1,
        "left out, response: truncated": 1,
        "dropped, rules not kept": 1,
        "left out, role and rules: too few rules": 1,
        "kept": 1,
        "kept, regenerated once": 1,
    }
    assert [town_of(body["messages"][-1]["content"]) for body in again] == ["4", "6"]
    assert again[0]["messages"][0]["content"].endswith(f"Keep every rule this time:\n- {LAKE}")
    first, last = read_examples(tmp_path / "rules.jsonl")
    system = f"You are a guide to town 6.\n- {SHORT}\n- {LAKE}"
    assert first.completion == "By the lake you find town 0."
    assert (last.prompt, last.completion) == (f"{system}\n\nWhat is in town 6?", "A church by the lake.")
    assert last.model_extra == {
        "system": system,
        "role": "You are a guide to town 6.",
        "rules": [SHORT, LAKE],
        "rule_check": "kept, regenerated once",
        "source_prompt": "What is in town 6?",
        "source_completion": "A mill (6).",
    }


def test_the_number_of_rules_is_drawn_with_the_seed(tmp_path: Path) -> None:
    def many(question: str, _: int) -> str:
        if is_invention(question):
            return invented(question, f"You are guide {town_of(question)}.", *[f"Rule {n}." for n in range(9)])
        return checked(question) if is_check(question) else "By the lake."

    write_examples(tmp_path / "pairs.jsonl", pairs(8))
    drawn: list[list[int]] = []
    with serve(many) as server:
        options = config(tmp_path, server, fewest_rules=1, most_rules=4, concurrency=8)
        assert run_recipe(RolesAndRules(), options.model_copy(update={"dry_run": True})) is None
        assert server.asked == []
        for seed in (0, 0, 1):
            asked = len(server.asked)
            roles_and_rules(options.model_copy(update={"seed": seed}))
            rows = read_examples(tmp_path / "rules.jsonl")
            drawn.append([len((row.model_extra or {})["rules"]) for row in rows])
            assert (len(server.asked) > asked) == (len(drawn) != 2)
    wanted = [re.findall(r"Write exactly (\d)", question) for question in server.asked if is_invention(question)]
    assert sorted(int(count[0]) for count in wanted[:8]) == sorted(drawn[0])
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) <= {1, 2, 3, 4}


def test_a_role_that_exists_is_asked_for_once_more_with_those_that_exist(tmp_path: Path) -> None:
    def same(question: str, before: int) -> str:
        if is_invention(question):
            exists = section_of(question, "roles that exist already")
            role = f"You are the miller of town {town_of(question)}." if exists else "You are a guide."
            return invented(question, role, SHORT, LAKE)
        return reply(question, before)

    write_examples(tmp_path / "pairs.jsonl", [row for number, row in enumerate(pairs(8)) if number in (0, 7)])
    with serve(same) as server:
        roles_and_rules(config(tmp_path, server))
        inventions = [question for question in server.asked if is_invention(question)]
    assert section_of(inventions[-1], "roles that exist already") == "- You are a guide."
    assert len(inventions) == 3
    roles = [(row.model_extra or {})["role"] for row in read_examples(tmp_path / "rules.jsonl")]
    assert len(set(roles)) == 2


def test_the_system_prompt_is_sent_as_one_and_heads_the_first_turn(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    talk = {"prompt": "What is in town 0?", "completion": "A mill.", "earlier_turns": turns}
    write_examples(tmp_path / "pairs.jsonl", [Example.model_validate(talk)])
    with serve(reply) as server:
        roles_and_rules(config(tmp_path, server, judge="openai-api/faulty/judge"))
        bodies = Counter((body["model"], len(body["messages"])) for body in server.bodies)
    assert bodies == {("model", 1): 1, ("model", 4): 1, ("judge", 1): 2}
    (row,) = read_examples(tmp_path / "rules.jsonl")
    assert row.prompt == "What is in town 0?"
    assert (row.earlier_turns or [])[0].content.endswith(f"- {LAKE}\n\nHi")


def test_an_interrupted_run_is_resumed(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(5))
    with serve(reply) as server:
        states = roles_and_rules(config(tmp_path, server)).states
        asked = len(server.asked)
        ledger = tmp_path / "rules.audit.jsonl"
        lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
        ledger.write_text("".join(lines[:4]) + lines[4][:20], encoding="utf-8")
        assert roles_and_rules(config(tmp_path, server)).states == states
    assert len(server.asked) == asked + len(lines) - 4
    keys = {json.loads(line).get("key") for line in ledger.read_text(encoding="utf-8").splitlines()[1:]}
    assert len(keys) == asked


def test_bare_responses_and_contradicting_numbers_are_refused(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", [Example(completion="A mill.")])
    with serve(reply) as server:
        with pytest.raises(UserError, match="no prompt, which making roles and rules needs"):
            roles_and_rules(config(tmp_path, server))
        with pytest.raises(UserError, match="--fewest-rules 3 is more than --most-rules 2"):
            roles_and_rules(config(tmp_path, server, fewest_rules=3))


def test_where_nothing_was_made_nothing_is_written(tmp_path: Path) -> None:
    write_examples(tmp_path / "pairs.jsonl", pairs(2)[1:])
    with serve(reply) as server, pytest.raises(UserError, match="made no example"):
        roles_and_rules(config(tmp_path, server))
    assert not (tmp_path / "rules.jsonl").exists()
