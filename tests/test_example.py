"""Reading and writing examples: what is written is read back, and every bad row is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from response_tuning.example import Example, read_examples, require_prompts, write_examples
from response_tuning.support.errors import UserError

# Every character a UTF-8 file can hold; what is stripped away alone would be an empty response.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: bool(text.strip()))
some_examples = st.lists(st.builds(Example, completion=texts, prompt=st.none() | texts), min_size=1, max_size=5)


@given(examples=some_examples)
def test_any_example_that_is_written_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("data") / "examples.jsonl"
    write_examples(path, examples)
    assert read_examples(path) == examples


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"completion": "a", "source": {"page": 3}}\n')
    (example,) = read_examples(path)
    write_examples(path, [example])
    assert read_examples(path)[0].model_extra == {"source": {"page": 3}}


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"completion": "a"}\r\n\r\n{"completion": "b"}')
    assert [example.completion for example in read_examples(path)] == ["a", "b"]


def test_a_line_separator_inside_a_string_does_not_end_the_row(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"completion": "a\u2028b"}\n', encoding="utf-8")
    assert read_examples(path)[0].completion == "a\u2028b"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"completion": "a"', "is not valid JSON"),
        ('["a"]', "is not a JSON object but a list"),
        ('{"prompt": "p"}', r"has no field 'completion' \(it has: prompt\)"),
        ('{"completion": "  "}', "field 'completion' is empty"),
        ('{"completion": null}', "field 'completion' is null, not a string"),
        ('{"completion": ["a"]}', "field 'completion' is a list, not a string"),
        ('{"completion": "a", "prompt": 3}', "field 'prompt' is a number, not a string"),
        ('{"completion": "a\\ud800"}', "field 'completion' has a lone surrogate"),
    ],
)
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"completion": "good"}\n' + line + "\n")
    with pytest.raises(UserError, match=f"examples.jsonl:2: {message}"):
        read_examples(path)


def test_bytes_that_are_not_utf_8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_bytes(b'{"completion": "caf\xe9"}\n')
    with pytest.raises(UserError, match=r"examples.jsonl:1: is not UTF-8 at byte 19"):
        read_examples(path)


def test_all_bad_rows_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text("x\n" * 25)
    with pytest.raises(UserError) as caught:
        read_examples(path)
    assert str(caught.value).count("is not valid JSON") == 1
    assert "and 24 more rows of this kind" in str(caught.value)


def test_different_causes_are_named_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text('x\n{"prompt": "p"}\n{"completion": 3}\n{"completion": 4}\n')
    with pytest.raises(UserError) as caught:
        read_examples(path)
    assert [line.split(":")[1] for line in str(caught.value).splitlines() if not line.startswith(" ")] == [
        "1",
        "2",
        "3",
    ]
    assert "and 1 more rows of this kind: " in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_examples_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no examples"):
        read_examples(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        read_examples(tmp_path)


def test_rows_without_prompts_are_counted_where_prompts_are_needed() -> None:
    examples = [Example(completion="a", prompt="p"), Example(completion="b"), Example(completion="c", prompt=" ")]
    with pytest.raises(UserError, match=r"f.jsonl: 2 of 3 rows have no prompt.*the first is row 2"):
        require_prompts(examples, source="f.jsonl", purpose="the probe")
