"""Layouts that are recognised by themselves: what each field becomes, and what is counted as not used."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.preferences import is_desirable
from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Row
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record

U, A, S = "user", "assistant", "system"


def chat(*turns: tuple[str, str], **fields: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": content, **fields} for role, content in turns]


def read(*values: Any) -> list[Row | BadRow]:
    records = [Record(f"f:{number}", number, value) for number, value in enumerate(values, start=1)]
    return list(rows_from(records, Fields(), source="f"))


def examples(*values: Any) -> list[dict[str, Any]]:
    rows = read(*values)
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.example.model_dump(exclude_unset=True) for row in rows if isinstance(row, Row)]


def reason(value: Any) -> str:
    (row,) = read(value)
    assert isinstance(row, BadRow)
    return row.reason


@pytest.mark.parametrize("own", [{"prompt": "first question"}, {"prompt": None}, {"earlier_turns": []}])
def test_case_42_own_fields_beside_messages_never_replace_the_conversation(
    own: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    messages = chat((S, "SYS"), (U, "first question"), (A, "one"), (U, "second question"), (A, "two"))
    with caplog.at_level(logging.INFO):
        first, second = examples({"messages": messages, **own, "category": "Chat"})
    assert (first["prompt"], first["completion"], first["category"]) == ("SYS\n\nfirst question", "one", "Chat")
    assert (second["prompt"], second["completion"]) == ("second question", "two")
    assert [turn["content"] for turn in second["earlier_turns"]] == ["SYS\n\nfirst question", "one"]
    assert "'category' (1 rows)" in caplog.text
    (name,) = own
    assert (f"{name!r} (1 rows)" in caplog.text) == (own[name] is not None)


@pytest.mark.parametrize("off", [{"weight": 0}, {"train": False}, {"loss": False}, {"loss_mask": 0}])
def test_case_04_a_message_of_weight_zero_is_context_without_loss(off: dict[str, Any]) -> None:
    messages = [*chat((U, "q")), *chat((A, "Sydney."), **off), *chat((U, "sure?")), *chat((A, "Canberra."), weight=1)]
    (only,) = examples({"messages": messages})
    assert (only["prompt"], only["completion"]) == ("sure?", "Canberra.")
    assert [turn["content"] for turn in only["earlier_turns"]] == ["q", "Sydney."]


def test_case_04_fields_of_messages_that_are_not_used_are_named_once_with_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    row = {"messages": [*chat((U, "q"), name="Ann"), *chat((A, "a"), reasoning_content="hm", tool_calls=None)]}
    with caplog.at_level(logging.INFO):
        examples(row, row)
    assert "fields of messages 'name' (2 messages), 'reasoning_content' (2 messages)" in caplog.text
    assert "tool_calls" not in caplog.text


def test_case_04_a_weight_that_is_neither_0_nor_1_is_refused() -> None:
    assert "'messages.2.weight' is 0.5" in reason({"messages": [*chat((U, "q")), *chat((A, "a"), weight=0.5)]})


def test_case_03_conversational_prompt_and_completion_are_read() -> None:
    prompt = chat((S, "Be brief."), (U, "Hi"), (A, "Hello."), (U, "Largest planet?"))
    (example,) = examples({"prompt": prompt, "completion": chat((A, "Jupiter."))})
    assert (example["prompt"], example["completion"]) == ("Largest planet?", "Jupiter.")
    assert [turn["content"] for turn in example["earlier_turns"]] == ["Be brief.\n\nHi", "Hello."]


def test_case_empty_turn_is_skipped_and_the_others_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    turns = chat(*((role, f"{role} {number}") for number in range(5) for role in (U, A)))
    turns[5]["content"] = ""
    with caplog.at_level(logging.WARNING):
        found = examples({"messages": turns})
    assert [example["completion"] for example in found] == [f"assistant {number}" for number in (0, 1, 3, 4)]
    assert "1 assistant turns without text (the first: f:1 messages.6)" in caplog.text


def test_turns_from_the_first_tool_call_on_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    call = {"role": A, "content": None, "tool_calls": [{"id": "1"}]}
    turns = [*chat((U, "Hi"), (A, "Hello."), (U, "Weather?")), call, *chat(("tool", "20"), (A, "It is 20."))]
    with caplog.at_level(logging.WARNING):
        (only,) = examples({"messages": turns})
    assert only["completion"] == "Hello."
    assert "f:1 messages.4" in caplog.text


MESSAGES = chat((U, "q"), (A, "a"))
PAIR = {"prompt": "q", "completion": "a"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "q", "input": "", "output": "a"}, PAIR),
        ({"instruction": "q", "input": "i", "output": "a"}, {**PAIR, "prompt": "q\n\ni"}),
        ({"instruction": "q", "output": "a", "system": "S"}, {**PAIR, "prompt": "S\n\nq"}),
        ({"instruction": "q", "context": "", "response": "a", "category": "x"}, {**PAIR, "category": "x"}),
        ({"system_prompt": "S", "question": "q", "response": "a"}, {**PAIR, "prompt": "S\n\nq"}),
        ({"prompt": "q", "response": "a"}, PAIR),
        ({"instruction": "q", "output": "a", "prompt": "Below is ..."}, PAIR),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, PAIR),
        ({"conversations": MESSAGES, "system": "S"}, {**PAIR, "prompt": "S\n\nq"}),
        ({"conversations": ["q", "a"]}, PAIR),
        ({"id": 1, "data": ["q", "a"]}, {**PAIR, "id": 1}),
        ({"messages": '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]'}, PAIR),
        ({"messages": "[{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]"}, PAIR),
        ({"messages": MESSAGES, "completion": "else"}, PAIR),
        ({"messages": None, "prompt": "q", "completion": "a"}, {**PAIR, "messages": None}),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, {**PAIR, "rejected": "b"}),
        ({"prompt": "q", "chosen": MESSAGES, "rejected": "b"}, {**PAIR, "rejected": "b"}),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "b"}, {**PAIR, "rejected": "b"}),
        (
            {"input": {"messages": MESSAGES[:1]}, "preferred_output": MESSAGES[1:], "non_preferred_output": []},
            {**PAIR, "non_preferred_output": []},
        ),
        (
            {"custom_id": "1", "response": {"status_code": 200, "body": {"choices": [{"message": MESSAGES[1]}]}}},
            {"completion": "a", "custom_id": "1"},
        ),
        (
            {
                "custom_id": "1",
                "result": {"type": "succeeded", "message": {"content": [{"type": "text", "text": "a"}]}},
            },
            {"completion": "a", "custom_id": "1"},
        ),
        ({"request": {"messages": MESSAGES[:1]}, "response": {"choices": [{"message": MESSAGES[1]}]}}, PAIR),
        ({"messages": chat((S, "Greet."), (A, "a"))}, {"prompt": "Greet.", "completion": "a"}),
    ],
)
def test_a_layout_is_recognised_by_itself(row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert examples(row) == [expected]


def test_history_of_llama_factory_is_trained_as_there() -> None:
    row = {"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]], "system": "S"}
    first, second = examples(row)
    assert (first["prompt"], first["completion"]) == ("S\n\nq1", "a1")
    assert (second["prompt"], second["completion"]) == ("q2", "a2")


def test_of_a_chosen_conversation_only_what_differs_from_the_rejected_one_is_trained() -> None:
    turns = [(U, "q"), (A, "a"), (U, "r")]
    (only,) = examples({"chosen": chat(*turns, (A, "good")), "rejected": chat(*turns, (A, "bad"))})
    assert only["completion"] == "good"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": "q", "output": "a", "response": "b"}, "either of which may be the response"),
        ({"instruction": "q", "output": "a", "input": "i", "context": "c"}, "either of which may follow"),
        ({"custom_id": "1", "method": "POST", "body": {"messages": MESSAGES[:1]}}, "is a request of a batch"),
        ({"custom_id": "1", "response": None, "error": {"code": "x"}}, "is a batch request that failed"),
        (
            {"model": "m", "choices": [{"message": MESSAGES[1], "finish_reason": "length"}]},
            "is an answer that the server cut off (length)",
        ),
        (
            {"messages": [{"role": U, "content": [{"type": "image_url", "image_url": "x"}]}, MESSAGES[1]]},
            "'messages.1.content.1' is a part of the type 'image_url'",
        ),
    ],
)
def test_what_would_be_wrong_in_silence_is_refused_by_its_field(row: dict[str, Any], message: str) -> None:
    assert message in reason(row)


def test_case_columns_by_other_names_are_guessed_in_a_command() -> None:
    command = "rt data prepare f --completion-field reply --prompt-field question --output f-examples.jsonl"
    assert command in reason({"question": "q", "reply": "a", "agent": "x"})


def test_case_09_a_nested_field_is_named_by_its_path() -> None:
    value = {"q": {"text": "q"}, "choices": [{"message": {"content": "a"}}]}
    fields = Fields(completion="choices[0].message.content", prompt="q.text")
    (row,) = rows_from([Record("f:1", 1, value)], fields)
    assert isinstance(row, Row)
    assert (row.example.prompt, row.example.completion) == ("q", "a")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a", "label": False},
        {"messages": MESSAGES, "kto_tag": False},
        {"instruction": "q", "output": "a", "desirable": False},
    ],
)
def test_undesirable_responses_are_read_by_those_who_ask_for_them(row: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (example,) = load_examples(str(path), verdicts=True)
    assert is_desirable(example) is False
    with pytest.raises(UserError, match=r"votes.jsonl:1: is marked as an undesirable response"):
        load_examples(str(path))
    path.write_text(json.dumps({name: True if value is False else value for name, value in row.items()}) + "\n")
    assert is_desirable(load_examples(str(path))[0])


def test_fields_that_this_package_writes_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    own = {"kind": "list", "source_completion": "b", "refinement": "refined"}
    roles = {"source_prompt": "p", "system": "Be kind."}
    rows = examples({"prompt": "q", "completion": "a", **own}, {"prompt": "Be kind.\n\nq", "completion": "a", **roles})
    assert [set(row) for row in rows] == [{"prompt", "completion", *own}, {"prompt", "completion", *roles}]
    assert "not used" not in caplog.text
    examples({"prompt": "q", "completion": "a", "system": "Be kind."}, {"messages": MESSAGES, "kind": "chat"})
    assert "fields 'system' (1 rows), 'kind' (1 rows)" in caplog.text


def test_gemini_and_ms_swift_are_recognised() -> None:
    def turn(role: str, *texts: str) -> dict[str, Any]:
        return {"role": role, "parts": [{"text": text} for text in texts]}

    (gemini,) = examples(
        {"systemInstruction": turn("system", "S"), "contents": [turn(U, "one ", "two"), turn("model", "a")]}
    )
    assert gemini == {"prompt": "S\n\none two", "completion": "a"}
    first, second = examples({"query": "q", "response": "a", "history": [["x", "y"]], "system": "S"})
    assert (first["prompt"], first["completion"]) == ("S\n\nx", "y")
    assert [turn["content"] for turn in second["earlier_turns"]] == ["S\n\nx", "y"]
    image = {"role": U, "parts": [{"inlineData": {"mimeType": "image/png"}}]}
    assert "a part of the type 'inlineData'" in reason({"contents": [image, turn("model", "a")]})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "### Human: hi### Assistant: hello"}, "holds the marks of a chat template"),
        ({"text": "<|im_start|>user\nhi<|im_end|>"}, "holds the marks of a chat template"),
        ({"message_id": "1", "role": "prompter", "text": "hi"}, "It is a single message"),
    ],
)
def test_a_rendered_conversation_and_a_lone_message_are_not_taken_for_a_response(
    row: dict[str, Any], message: str
) -> None:
    assert message in reason(row)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": {"role": [U, A, U, A], "content": ["q", "a", "r", "b"]}},
        {"conversations": {"from": ["human", "gpt", "human", "gpt"], "value": ["q", "a", "r", "b"]}},
        {"conversation": [{"input": "q", "output": "a"}, {"input": "r", "output": "b"}]},
        {"conversation": [{"human": "q", "assistant": "a"}, {"human": "r", "assistant": "b"}]},
        {"messages": json.dumps({"role": [U, A, U, A], "content": ["q", "a", "r", "b"]})},
    ],
)
def test_a_conversation_in_columns_or_in_pairs_is_read_as_one_of_messages(row: dict[str, Any]) -> None:
    first, second = examples(row)
    assert (first["prompt"], first["completion"], second["prompt"], second["completion"]) == ("q", "a", "r", "b")
    assert [turn["content"] for turn in second["earlier_turns"]] == ["q", "a"]


def test_the_system_message_of_a_pair_precedes_its_question() -> None:
    (only,) = examples({"conversation": [{"system": "S", "input": "q", "output": "a"}]})
    assert only["prompt"] == "S\n\nq"
    assert reason({"conversation": [{"input": "q", "output": 3}]}).startswith("field 'conversation.2' has a number")
    assert "'messages'" in reason({"messages": {"role": [U, A], "content": ["q"]}})
