"""Pairs from users' feedback, against a real server: every reply in one state, and nothing asked twice."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.preferences import paired
from response_tuning.example import read_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.feedback.feedback import Feedback, make_feedback
from response_tuning.synthesis.feedback.feedback_config import FeedbackConfig
from response_tuning.synthesis.feedback.items import read_items
from response_tuning.synthesis.feedback.logs import Satisfaction, read_logs, replies_of
from tests.inference.faulty_server import FaultyServer, serve
from tests.synthesis.feedback_log import WANT, feedback_log, feedback_reply

SERVED = "openai-api/faulty/model"


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def config(tmp_path: Path, server: FaultyServer, **others: object) -> FeedbackConfig:
    values: dict[str, object] = {
        "source": str(tmp_path / "logs.jsonl"),
        "output": tmp_path / "pairs.jsonl",
        "model": SERVED,
        "base_url": server.url,
        "retries": 0,
    }
    return FeedbackConfig.model_validate(values | others)


def feedback(options: FeedbackConfig) -> Feedback:
    made = make_feedback(options)
    assert made is not None
    return made


def talk(*contents: str, **others: object) -> dict[str, Any]:
    messages = [
        {"role": "assistant" if place % 2 else "user", "content": content} for place, content in enumerate(contents)
    ]
    return {"messages": messages, **others}


def test_the_response_that_drew_dissatisfaction_is_rejected_and_a_better_one_chosen(tmp_path: Path) -> None:
    write(tmp_path / "logs.jsonl", [talk("Hi", "Hello", "How many people live in Zug?", "Many.", "No, give a number.")])
    with serve(feedback_reply) as server:
        made = feedback(config(tmp_path, server))
    assert made.states == {"pair": 1, "no feedback": 1}
    (pair,) = read_examples(tmp_path / "pairs.jsonl")
    assert (pair.prompt, pair.completion) == ("How many people live in Zug?", "About 4000 people live there.")
    assert [turn.content for turn in pair.earlier_turns or ()] == ["Hi", "Hello"]
    extra = pair.model_extra or {}
    assert (extra["rejected"], extra["preferences"], extra["feedback"]) == ("Many.", [WANT], ["D4"])
    assert len(paired([pair], source="pairs")) == 2
    answered = next(body for body in server.bodies if len(body["messages"]) > 2)
    assert [message["role"] for message in answered["messages"]] == ["system", "user", "assistant", "user"]
    assert f"- {WANT}" in answered["messages"][0]["content"]
    assert all(WANT not in str(turn) for turn in (pair.prompt, pair.earlier_turns))


def test_every_reply_has_one_state_and_nothing_is_asked_twice_after_a_kill(tmp_path: Path) -> None:
    write(tmp_path / "logs.jsonl", feedback_log(30))
    with serve(feedback_reply) as server:
        made = feedback(config(tmp_path, server))
        asked = len(server.asked)
        assert max(server.counts.values()) == 1
        ledger = tmp_path / "pairs.audit.jsonl"
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join(lines[:40]) + lines[40][:9])
        first = (tmp_path / "pairs.jsonl").read_bytes()
        assert feedback(config(tmp_path, server)) == made
        assert len(server.asked) == asked + (len(lines) - 40)
        assert (tmp_path / "pairs.jsonl").read_bytes() == first
    assert sum(made.states.values()) == len(replies_of(read_logs(tmp_path / "logs.jsonl"))) == 30
    assert made.pairs == made.states["pair"] > 5


def test_a_dry_run_asks_nothing_and_prices_the_next_stage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "logs.jsonl", feedback_log(10))
    with serve(feedback_reply) as server:
        assert make_feedback(config(tmp_path, server, dry_run=True, input_usd_per_million=5.0)) is None
        assert server.asked == []
    assert not (tmp_path / "pairs.jsonl").exists()
    assert "labels: 7 questions" in caplog.text
    assert "then 3 more asks, for at most 7 replies" in caplog.text


def test_on_policy_both_answers_are_of_the_model_to_be_tuned(tmp_path: Path) -> None:
    def policy(body: dict[str, Any]) -> str:
        has_preferences = body["messages"][0]["role"] == "system"
        return "About 4000 people." if has_preferences else "Several people."

    rows = [talk("How many people live in Zug?", "Many.", "Thanks, that helps."), *feedback_log(3, seed=3)]
    write(tmp_path / "logs.jsonl", rows)

    def answering(question: str, before: int) -> str:
        return policy(server.bodies[-1]) if question.startswith("How many") else feedback_reply(question, before)

    with serve(answering) as server:
        made = feedback(config(tmp_path, server, variant="on-policy", policy="openai-api/faulty/policy", concurrency=1))
        models = Counter(body["model"] for body in server.bodies if body["messages"][-1]["content"][:3] == "How")
    pairs = read_examples(tmp_path / "pairs.jsonl")
    assert made.pairs == len(pairs) >= 2
    assert {(pair.completion, (pair.model_extra or {})["rejected"]) for pair in pairs} == {
        ("About 4000 people.", "Several people.")
    }
    assert models == {"policy": 2 * len(pairs)}


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("label", "left out, label: unparsed"),
        ("preferences", "left out, preferences: no marker"),
        ("nothing wanted", "left out, preferences: no preference"),
        ("answer", "left out, answer: refused"),
        ("same answer", "left out, same answer twice"),
        ("check", "left out, check: not preferred"),
        ("one order", "left out, check: not preferred"),
        ("verdict", "left out, check: unparsed"),
        ("status", "left out, check: refused by the server"),
    ],
)
def test_what_fails_is_left_out_with_its_reason(tmp_path: Path, fault: str, state: str) -> None:
    def reply(question: str, before: int) -> str:
        good = feedback_reply(question, before)
        if "the user's last message" in question:
            return "S1 I think" if fault == "label" else good
        if "Take only what" in question:
            changed = {"preferences": "- a list alone", "nothing wanted": good.replace(WANT, "NONE")}
            return changed.get(fault, good)
        if "Two assistants" in question:
            changed = {"check": good[:-1] + "TIE", "one order": good[:-1] + "A", "verdict": "A", "status": "status 400"}
            return changed.get(fault, good)
        return {"answer": "I'm sorry, but I can't help with that.", "same answer": "Many."}.get(fault, good)

    rows = [talk("How many people live in Zug?", "Many.", "No, give a number.")]
    rows += [talk("How many people live in Chur?", "Some.", "And the weather there?")]
    write(tmp_path / "logs.jsonl", rows)
    with serve(reply) as server:
        made = feedback(config(tmp_path, server, concurrency=1))
    assert made.states == ({state: 2} if fault == "label" else {state: 1, "no feedback": 1})
    assert (made.pairs, (tmp_path / "pairs.jsonl").read_text()) == (0, "")


def test_responses_for_response_tuning_leave_out_what_drew_dissatisfaction(tmp_path: Path) -> None:
    rows = [
        talk("How many people live in Zug?", "Many.", "No, give a number.", "Two.", "Thanks, that helps."),
        talk("How many people live in Chur?", "Some.", "Where is it?", "In the east."),
    ]
    write(tmp_path / "logs.jsonl", rows)
    kept = tmp_path / "kept.jsonl"
    with serve(feedback_reply) as server:
        made = feedback(config(tmp_path, server, responses=kept))
        assert [(row.completion, (row.model_extra or {})["kind"]) for row in read_examples(kept)] == [
            ("About 4000 people live there.", "chosen"),
            ("Two.", "satisfied"),
        ]
        asked = len(server.asked)
        feedback(config(tmp_path, server, responses=kept, neutral_responses=True))
        assert len(server.asked) == asked
    assert made.responses == 2
    assert [row.completion for row in read_examples(kept)][1:] == ["Two.", "Some.", "In the east."]


def test_flagged_conversations_and_personal_data_are_left_out_unasked(tmp_path: Path) -> None:
    wild = {"conversation_hash": "a", "model": "m", "turn": 1, "language": "English", "redacted": False}
    good: list[Any] = [*talk("How many people live in Zug?", "Many.", "No, give a number.")["messages"]]
    moderated = [{"flagged": False}, {"flagged": True}, {"flagged": False}]
    rows = [
        {**wild, "conversation": good, "toxic": False, "openai_moderation": [{"flagged": False}] * 3},
        {**wild, "conversation": good, "toxic": True},
        {**wild, "conversation": good, "toxic": False, "openai_moderation": moderated},
        {**wild, "conversation": good, "toxic": False, "redacted": True},
        {**wild, "conversation": [*good, {"role": "assistant", "content": "Ask jo@mail.ch."}], "toxic": False},
    ]
    write(tmp_path / "logs.jsonl", rows)
    with serve(feedback_reply) as server:
        made = feedback(config(tmp_path, server))
        assert len([question for question in server.asked if "last message" in question]) == 1
    assert made.states == {
        "left out, flagged": 2,
        "left out, personal data": 2,
        "pair": 1,
        "left out, redacted": 1,
    }


def test_annotated_utterances_are_read_as_they_are_published(tmp_path: Path) -> None:
    def said(number: int, role: str, content: str, **labels: str) -> dict[str, object]:
        return {"UtteranceId": number, "Role": role, "Content": content, "State": "FEEDBACK", **labels}

    rows = [
        said(0, "User", "How many?", SAT="false", DSAT="false"),
        said(1, "Agent", "Many."),
        said(2, "User", "No, give a number.", SAT="false", DSAT="true"),
        said(0, "User", "Hi"),
        said(1, "Agent", "Hello"),
    ]
    logs = read_logs(write(tmp_path / "logs.jsonl", rows))
    assert [[turn.content for turn in log.turns] for log in logs] == [
        ["How many?", "Many.", "No, give a number."],
        ["Hi", "Hello"],
    ]
    (first, last) = replies_of(logs)
    assert (first.label, last.label) == (Satisfaction(False, True), None)


def test_labels_in_the_log_can_stand_for_asking(tmp_path: Path) -> None:
    log = feedback_log(10)
    write(tmp_path / "logs.jsonl", log)
    with serve(feedback_reply) as server:
        made = feedback(config(tmp_path, server, trust_labels=True))
        assert not any("last message" in question for question in server.asked)
    labels = Counter(row["messages"][-1].get("feedback") for row in log)
    assert made.states["no feedback"] == labels["none"]
    assert made.pairs == labels["dissatisfied"] + labels["both"]


def test_rows_that_are_no_conversations_are_named(tmp_path: Path) -> None:
    pair = {"conversations": [{"from": "human", "value": "q"}], "chosen": {"value": "a"}, "rejected": {"value": "b"}}
    labelled = talk("a", "b", "c")
    labelled["messages"][-1]["feedback"] = "angry"
    write(tmp_path / "logs.jsonl", [pair, {"text": "x"}, labelled])
    with pytest.raises(UserError) as error:
        read_logs(tmp_path / "logs.jsonl")
    assert "logs.jsonl:1: is a finished preference pair" in str(error.value)
    assert "logs.jsonl:2: has no conversation such as 'messages' (it has: text)" in str(error.value)
    assert "logs.jsonl:3: field 'feedback' is" in str(error.value)


def test_the_items_are_eighteen_and_may_be_the_users_own(tmp_path: Path) -> None:
    items = read_items(None)
    assert (len(items.satisfaction), len(items.dissatisfaction)) == (9, 9)
    assert items.parse("d4, S1") == ["S1", "D4"]
    assert items.parse("NONE") == []
    assert [items.parse(text) for text in ("S1 X9", "", "none S1", "S1 perhaps")] == [None] * 4
    own = tmp_path / "items.yaml"
    own.write_text("satisfaction:\n  Yes1: praise\ndissatisfaction:\n  No1: blame\n", encoding="utf-8")
    assert read_items(own).parse("no1") == ["No1"]
    for text, message in [
        ("satisfaction:\n  A: x\n", "needs a list 'dissatisfaction'"),
        ("satisfaction:\n  A: x\ndissatisfaction:\n  a: y\n", "is in both lists"),
        ("satisfaction:\n  A: x\n  A: z\ndissatisfaction:\n  B: y\n", "items.yaml:3"),
        ("satisfaction:\n  A b: x\ndissatisfaction:\n  B: y\n", "letters and digits"),
    ]:
        own.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_items(own)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"variant": "on-policy"}, "needs --policy"),
        ({"policy": "runs/a"}, "is for --variant on-policy"),
        ({"neutral_responses": True}, "needs --responses"),
        ({"labels": "unlabelled.jsonl"}, "has no labels"),
        ({"personal_data": "presidio"}, r"response-tuning\[personal-data\]"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_asked(
    tmp_path: Path, others: dict[str, Any], message: str
) -> None:
    write(tmp_path / "logs.jsonl", feedback_log(3))
    if "labels" in others:
        others["labels"] = write(tmp_path / "unlabelled.jsonl", [talk("a", "b", "c")])
    with serve(feedback_reply) as server, pytest.raises(UserError, match=message):
        make_feedback(config(tmp_path, server, **others))
    assert server.asked == []
