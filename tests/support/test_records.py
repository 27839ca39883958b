"""Strict JSON: what is read can be written again and means the same."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from response_tuning.support.records import decode_json, preview

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(value=values, ensure_ascii=st.booleans())
def test_any_json_value_is_decoded_to_what_was_written(value: Any, ensure_ascii: bool) -> None:
    assert decode_json(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "names the field 'a' twice"),
        (b'{"a": {"b": 1, "b": 1}}', "names the field 'b' twice"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": ["x", "\\ud83d"]}', "field 'a' has a lone surrogate at character 0"),
        (b'{"a": {"b": "x\\udc00"}}', r"field 'a\.b' has a lone surrogate at character 1"),
        (b'{"\\ud83d": 1}', "has a lone surrogate"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": "x\x00"}', "is not valid JSON"),
        (b'{"a": 1} {"a": 2}', "Extra data at column 10"),
        (b'"' + b"x" * 5_000_000, "is not valid JSON"),
    ],
)
def test_what_could_not_be_written_again_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        decode_json(text)
    assert len(str(caught.value)) < 300


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert decode_json(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_a_preview_is_short_and_on_one_line() -> None:
    assert preview("a\nb") == "'a\\nb'"
    assert len(preview("x" * 5_000_000)) == 63
