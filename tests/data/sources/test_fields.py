"""What a record means: fields by name, and conversations."""

from typing import Any

import pytest

from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.example import Example, Row
from response_tuning.support.records import BadRow, Record

ALPACA = Fields(completion="output", prompt="instruction", context="input")


def rows(value: Any, fields: Fields | None = None) -> list[Row | BadRow]:
    return list(rows_from([Record("f:1", 1, value)], fields or Fields()))


def examples(value: Any, fields: Fields | None = None) -> list[Example]:
    found = rows(value, fields)
    assert all(isinstance(row, Row) for row in found), found
    return [row.example for row in found if isinstance(row, Row)]


def reason(value: Any, fields: Fields | None = None) -> str:
    (row,) = rows(value, fields)
    assert isinstance(row, BadRow)
    assert str(row).startswith("f:1: ")
    return row.reason


def test_a_completion_alone_is_an_example() -> None:
    assert examples({"completion": "a", "page": 3}) == [Example.model_validate({"completion": "a", "page": 3})]


def test_context_follows_the_instruction_after_a_blank_line_where_there_is_any() -> None:
    with_input = {"instruction": "Add.", "input": "1 2", "output": "3"}
    assert examples(with_input, ALPACA) == [Example(prompt="Add.\n\n1 2", completion="3")]
    assert examples({**with_input, "input": ""}, ALPACA) == [Example(prompt="Add.", completion="3")]


def test_fields_that_are_not_used_are_kept() -> None:
    (example,) = examples({"q": "p", "a": "c", "kind": "x"}, Fields(completion="a", prompt="q"))
    assert example.model_dump(exclude_unset=True) == {"prompt": "p", "completion": "c", "kind": "x"}


def test_every_assistant_turn_becomes_an_example_with_what_came_before_it() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Capital of Peru?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Lima."}]},
    ]
    first, second = examples({"messages": messages, "id": 7})
    assert first.model_dump(exclude_unset=True) == {"prompt": "Be brief.\n\nHello", "completion": "Hi.", "id": 7}
    assert second.prompt == "Capital of Peru?"
    assert second.completion == "Lima."
    assert [(turn.role, turn.content) for turn in second.earlier_turns or []] == [
        ("user", "Be brief.\n\nHello"),
        ("assistant", "Hi."),
    ]


def test_neighbouring_turns_of_one_side_are_one_turn_and_an_opening_response_has_no_prompt() -> None:
    turns = [("gpt", "Welcome."), ("human", "One."), ("human", "Two."), ("gpt", "Three.")]
    first, second = examples({"conversations": [{"from": role, "value": text} for role, text in turns]})
    assert (first.prompt, first.completion, first.earlier_turns) == (None, "Welcome.", None)
    assert (second.prompt, second.completion) == ("One.\n\nTwo.", "Three.")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"messages": "hello"}, "field 'messages' is a string, not a list"),
        ({"messages": ["hello"]}, "field 'messages.1' is a string, not an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "field 'messages.1' is a tool call or its result"),
        ({"messages": [{"role": "user"}]}, "field 'messages.1' has null as its content"),
        ({"messages": [{"role": "user", "content": "x"}]}, "has no message of the role 'assistant'"),
        ({"messages": [{"role": "assistant", "content": " "}]}, "field 'messages.1' is empty"),
        ({"question": "q", "answer": "a"}, "--completion-field answer --prompt-field question"),
        ({}, "has no field 'completion' (it has: none)"),
        ("x", "is not a JSON object but a string"),
    ],
)
def test_what_is_no_example_is_named_by_its_field(value: Any, message: str) -> None:
    assert message in reason(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"instruction": "a"}, "has no field 'output' (it has: instruction)"),
        ({"output": "a"}, "has no field 'instruction' (it has: output)"),
        ({"instruction": "a", "input": ["x"], "output": "b"}, "field 'input' is a list, not a string"),
        ({"instruction": 3, "output": "b"}, "field 'prompt' is a number, not a string"),
        ({"instruction": "a", "output": None}, "field 'completion' is null, not a string"),
    ],
)
def test_a_wrong_named_field_is_a_bad_row(value: Any, message: str) -> None:
    assert message in reason(value, ALPACA)


def test_case_columns_the_text_that_follows_the_question_is_suggested_too() -> None:
    assert reason({"question": "q", "answer": "a", "context": "c"}).endswith(
        "--completion-field answer --prompt-field question --context-field context"
    )
    assert reason({"input": "q", "output": "a"}).endswith("--completion-field output --prompt-field input")
