"""Preparing data: the same bytes each time, nothing lost in silence, nothing half-written."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from response_tuning.cli.main import main
from response_tuning.data.prepare import PrepareConfig, prepare
from response_tuning.data.sampling import draw
from response_tuning.example import Example, Turn, read_examples, write_examples
from response_tuning.support.errors import UserError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
filled = texts.filter(lambda text: bool(text.strip()))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=4,
)
known = {"completion", "prompt", "earlier_turns"}
turns = st.lists(st.builds(Turn, role=st.sampled_from(["user", "assistant"]), content=texts), max_size=3)


@st.composite
def some_examples(draw_from: st.DrawFn) -> Example:
    """An example with any texts and any other fields."""
    fields: dict[str, Any] = {"completion": draw_from(filled)}
    if draw_from(st.booleans()):
        fields["prompt"] = draw_from(st.none() | texts)
    if draw_from(st.booleans()):
        fields["earlier_turns"] = draw_from(st.none() | turns)
    others = draw_from(st.dictionaries(texts.filter(lambda name: name not in known), json_values, max_size=3))
    return Example.model_validate({**others, **fields})


def prepared(tmp_path: Path, name: str, **options: Any) -> Path:
    output = tmp_path / name
    prepare(PrepareConfig(output=output, **options))
    return output


@settings(max_examples=100, deadline=None)
@given(examples=st.lists(some_examples(), min_size=1, max_size=4))
def test_any_example_that_is_written_is_read_back_equal_and_preparing_again_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, examples: list[Example]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "written.jsonl", examples)
    assert read_examples(folder / "written.jsonl") == examples
    once = prepared(folder, "once.jsonl", source=str(folder / "written.jsonl"))
    twice = prepared(folder, "twice.jsonl", source=str(once))
    assert read_examples(once) == examples
    assert twice.read_bytes() == once.read_bytes()


@given(rows=st.lists(st.integers(), max_size=30), count=st.integers(1, 40), seed=st.integers(0, 3))
def test_a_draw_has_no_row_twice_and_drawing_from_it_again_changes_nothing(
    rows: list[int], count: int, seed: int
) -> None:
    numbered = list(enumerate(rows))
    drawn = draw(numbered, count, seed=seed)
    assert len(drawn) == min(count, len(rows)) == len(set(drawn))
    assert set(drawn) <= set(numbered)
    assert draw(drawn, count, seed=seed) == drawn
    assert draw(numbered, count, seed=seed) == drawn


def test_preparing_twice_from_conversations_gives_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "chat.jsonl"
    messages = [{"role": role, "content": f"{role} {turn}"} for turn in range(3) for role in ("user", "assistant")]
    source.write_text(json.dumps({"messages": messages}) + "\n")
    once = prepared(tmp_path, "once.jsonl", source=str(source))
    assert len(read_examples(once)) == 3
    assert prepared(tmp_path, "twice.jsonl", source=str(once)).read_bytes() == once.read_bytes()


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"completion": "a"}\n{"completion": ""}\n{"completion": "b"}\nx\n')
    return path


def test_bad_rows_are_named_and_nothing_is_written(tmp_path: Path, broken: Path) -> None:
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, "out.jsonl", source=str(broken))
    assert f"{broken}:2: field 'completion' is empty" in str(caught.value)
    assert f"{broken}:4: is not valid JSON" in str(caught.value)
    assert "--bad-rows drop" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["broken.jsonl"]


def test_bad_rows_can_be_dropped_and_are_told(tmp_path: Path, broken: Path) -> None:
    output = tmp_path / "out.jsonl"
    result = prepare(PrepareConfig(source=str(broken), output=output, bad_rows="drop"))
    assert [example.completion for example in read_examples(output)] == ["a", "b"]
    assert (result.read, result.written, [row.number for row in result.dropped]) == (4, 2, [2, 4])


def test_rows_are_drawn_before_bad_ones_are_dropped(tmp_path: Path) -> None:
    good, holed = tmp_path / "good.jsonl", tmp_path / "holed.jsonl"
    lines = [json.dumps({"completion": f"row {row}"}) for row in range(50)]
    good.write_text("\n".join(lines))
    holed.write_text("\n".join("x" if row % 7 == 0 else line for row, line in enumerate(lines)))
    whole = read_examples(prepared(tmp_path, "a.jsonl", source=str(good), max_examples=20))
    rest = read_examples(prepared(tmp_path, "b.jsonl", source=str(holed), max_examples=20, bad_rows="drop"))
    assert rest == [example for example in whole if int(example.completion.split()[1]) % 7]


def test_a_source_of_bad_rows_alone_and_a_wrong_output_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("x\n")
    with pytest.raises(UserError, match="is not valid JSON"):
        prepared(tmp_path, "out.jsonl", source=str(path), bad_rows="drop")
    with pytest.raises(UserError, match=r"should end in \.jsonl"):
        prepared(tmp_path, "out.csv", source=str(path))


def test_case_overwriting_an_input_is_refused_and_the_input_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"completion": "a"}\n{"completion": "b"}\n')
    for source in (str(path), str(tmp_path)):
        with pytest.raises(UserError, match="Choose another name"):
            prepared(tmp_path, "a.jsonl", source=source, max_examples=1)
    assert path.read_text().count("\n") == 2


def test_case_columns_by_other_names_are_one_error_with_a_count(tmp_path: Path) -> None:
    path = tmp_path / "replies.csv"
    path.write_text("question,reply,agent\n" + "q,r,a\n" * 120)
    with pytest.raises(UserError) as caught:
        prepared(tmp_path, "out.jsonl", source=str(path))
    message = str(caught.value)
    assert message.count("has no field 'completion'") == 1
    assert "and 119 more rows of this kind" in message
    command = message.partition("rt data prepare ")[2].partition("\n")[0]
    assert command == f"{path} --output {tmp_path / 'out.jsonl'} --completion-field reply --prompt-field question"
    prepared(tmp_path, "out.jsonl", source=str(path), completion_field="reply", prompt_field="question")
    assert len(read_examples(tmp_path / "out.jsonl")) == 120


def test_the_suggested_command_keeps_the_options_that_were_typed_and_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my replies.csv").write_text("question,reply\n" + "q,r\n" * 9)
    typed = ["my replies.csv", "--output", "its name.jsonl", "--max-examples", "4", "--bad-rows", "drop"]
    assert main(["data", "prepare", *typed]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "rt data prepare" in line]
    words = shlex.split(line[line.index("rt data prepare") :].partition(" (and ")[0])
    assert main(words[1:]) == 0
    assert len(read_examples("its name.jsonl")) == 4
