"""Rows of any layout, nested and of wrong types: each is read or named, no traceback, none dropped unsaid.

``RT_FUZZ_EXAMPLES=10000 pytest tests/data/test_fuzz.py`` runs that many examples of each property; the suite runs 200.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.data.prepare import PrepareConfig, prepare
from response_tuning.data.sources.fields import Fields, rows_from
from response_tuning.data.sources.layouts import CHAT_FIELDS
from response_tuning.data.sources.usage import Usage
from response_tuning.example import Example, Row, by_cause, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record

EXAMPLES = int(os.environ.get("RT_FUZZ_EXAMPLES", "200"))
# Ten thousand take longer than the suite's limit for one test.
pytestmark = [pytest.mark.timeout(0)] if EXAMPLES > 200 else []

fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

PIECES = ["</s>", "<|im_end|>", "<s>", "\r\n", "\u2028", "\0", "\ufeff", "e\u0301", "\u00e9", "  ", "{}", "\x85"]
texts = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5
).map("".join)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
FIELDS = [
    *CHAT_FIELDS,
    *("prompt", "completion", "earlier_turns", "instruction", "input", "output", "context", "response", "system"),
    *("system_prompt", "question", "answer", "chosen", "rejected", "label", "kto_tag", "history", "data", "choices"),
    *("custom_id", "body", "request", "result", "error", "model", "tools", "weight", "model_dump", "__class__", ""),
    *("contents", "systemInstruction", "query", "params", "role", "parts", "text"),
]
KEYS = [
    "role",
    "from",
    "input",
    "output",
    "loss_mask",
    "content",
    "value",
    "text",
    "weight",
    "train",
    "name",
    "tool_calls",
    "type",
    "reasoning_content",
    "parts",
]
ROLES = st.sampled_from(["user", "human", "assistant", "gpt", "system", "developer", "tool", "function_call"])
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS + FIELDS) | texts, inner, max_size=3)
    ),
    max_leaves=6,
)
message = st.fixed_dictionaries(
    {"role": ROLES, "content": texts},
    optional={"weight": st.sampled_from([0, 1, None]), "name": texts, "tool_calls": anything, "train": anything},
)
chats = st.lists(message | st.dictionaries(st.sampled_from(KEYS), anything, max_size=3), min_size=1, max_size=6)
rows = st.dictionaries(st.sampled_from(FIELDS), texts | chats | anything, max_size=6) | anything


def outcome(value: Any, fields: Fields) -> list[Row | BadRow]:
    return list(rows_from([Record("f.jsonl:7", 7, value)], fields, source="f.jsonl"))


@fuzz
@given(value=rows, named=st.none() | st.sampled_from([*FIELDS, "data.0", "choices[0].message.content"]))
def test_any_row_is_read_or_named_by_its_place_and_reading_again_what_was_written_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, value: Any, named: str | None
) -> None:
    skipped: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Usage, "report", lambda usage: skipped.extend(usage.skipped))
        found = outcome(value, Fields(completion=named))
    assert found or skipped, "dropped without a word"
    if any(isinstance(row, BadRow) for row in found):
        (bad,) = found
        assert isinstance(bad, BadRow)
        assert bad.reason
        assert str(bad).startswith("f.jsonl:7: ")
        assert by_cause([bad])
        return
    examples = [row.example for row in found if isinstance(row, Row)]
    if not examples:
        return
    path = tmp_path_factory.mktemp("fuzz") / "examples.jsonl"
    write_examples(path, examples)
    assert read_examples(path) == examples
    again = prepare(PrepareConfig(source=str(path), output=path.with_name("again.jsonl")))
    assert again.written == len(examples)
    assert path.with_name("again.jsonl").read_bytes() == path.read_bytes()


@fuzz
@given(lines=st.lists(rows.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=30), min_size=1, max_size=5))
def test_any_file_is_read_or_refused_in_one_message(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    for suffix in (".jsonl", ".json", ".csv", ".txt"):
        path = folder / f"rows{suffix}"
        path.write_bytes(b"\n".join(lines))
        try:
            result = prepare(PrepareConfig(source=str(path), output=folder / "out.jsonl", bad_rows="drop"))
        except UserError as error:
            assert str(error)
            continue
        assert result.written > 0


@fuzz
@given(prompt=texts, completion=texts.filter(lambda text: bool(text.strip())))
def test_a_text_goes_in_and_comes_out_byte_for_byte(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, prompt: str, completion: str
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": completion}]
    for row in ({"prompt": prompt, "completion": completion}, {"messages": messages}):
        source.write_text(json.dumps(row) + "\n")
        prepare(PrepareConfig(source=str(source), output=output))
        (example,) = read_examples(output)
        assert (example.prompt, example.completion) == (prompt, completion)
    conversation = Conversation(tokenizer, "chatml")
    encoded = conversation.encode(Example(prompt=prompt, completion=completion), "it")
    # White space around a response is not encoded, as chat templates trim it.
    assert conversation.decode(encoded.input_ids[encoded.prompt_length :]) == completion.strip()
