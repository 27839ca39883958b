"""alpaca_eval's files: read back as written, and errors that name the row."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.alpaca.alpaca_format import (
    Annotation,
    ModelOutput,
    difficulties_by_instruction,
    read_annotations,
    read_difficulties,
    read_model_outputs,
    write_annotations,
    write_model_outputs,
)
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

OUTPUT = {"instruction": "Name a bird.", "output": "Wren\u2028.", "generator": "mine", "dataset": "helpful_base"}
ANNOTATION = {
    "instruction": "Name a bird.",
    "output_1": "A wren.",
    "generator_1": "reference",
    "dataset": "helpful_base",
    "output_2": "",
    "generator_2": "mine",
    "annotator": "weighted_alpaca_eval_gpt4_turbo",
    "preference": 1.0000154,
    "raw_completion": {"tokens": ["m"]},
}


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_model_outputs_come_back_as_they_were_written(tmp_path: Path) -> None:
    outputs = [ModelOutput.model_validate(OUTPUT), ModelOutput(instruction="Another?", output="", generator="mine")]
    write_model_outputs(tmp_path / "model_outputs.json", outputs)
    assert read_model_outputs(tmp_path / "model_outputs.json") == outputs
    assert json.loads((tmp_path / "model_outputs.json").read_text(encoding="utf-8"))[0] == OUTPUT


def test_annotations_keep_the_fields_that_others_put_there(tmp_path: Path) -> None:
    path = save(tmp_path / "annotations.json", [ANNOTATION])
    write_annotations(tmp_path / "again.json", read_annotations(path))
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == [ANNOTATION]


@pytest.mark.parametrize(("preference", "wanted"), [(1, 0.0), (2.0, 1.0), (1.25, 0.25), (1.5, 0.5), (0, 0.5)])
def test_a_preference_is_read_as_the_models_share(tmp_path: Path, preference: float, wanted: float) -> None:
    path = save(tmp_path / "annotations.json", [{**ANNOTATION, "preference": preference}])
    assert read_annotations(path)[0].model_preference == wanted


def test_a_verdict_that_could_not_be_read_stays_without_preference(tmp_path: Path) -> None:
    path = save(tmp_path / "annotations.json", [{**ANNOTATION, "preference": None}])
    assert read_annotations(path)[0].model_preference is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preference": 2.5}, "row 2: field 'preference': Input should be less than or equal to 2: 2.5"),
        ({"preference": -1}, "row 2: field 'preference'"),
        ({"preference": "2"}, "row 2: field 'preference'"),
        ({"output_1": None}, "row 2: field 'output_1'"),
        ({"instruction": "Name a bird."}, "row 2: duplicate instruction: 'Name a bird.'"),
        ({"generator_2": "other"}, "should have one generator_2, but has 2: mine, other"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = save(tmp_path / "annotations.json", [ANNOTATION, {**ANNOTATION, "instruction": "Second?", **change}])
    with pytest.raises(UserError, match=message):
        read_annotations(path)


def test_a_missing_preference_is_not_taken_for_an_unread_one(tmp_path: Path) -> None:
    row = {name: value for name, value in ANNOTATION.items() if name != "preference"}
    with pytest.raises(UserError, match="row 1: field 'preference': Field required"):
        read_annotations(save(tmp_path / "annotations.json", [row]))


def test_every_bad_row_is_named_up_to_twenty(tmp_path: Path) -> None:
    path = save(tmp_path / "model_outputs.json", [{"instruction": "a"}] * 25)
    with pytest.raises(UserError) as caught:
        read_model_outputs(path)
    assert "row 20:" in str(caught.value)
    assert "and 5 more bad rows" in str(caught.value)


def test_an_empty_file_and_two_models_in_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is empty; it should be a model_outputs"):
        read_model_outputs(save(tmp_path / "empty.json", []))
    rows = [OUTPUT, {**OUTPUT, "instruction": "Second?", "generator": "other"}]
    with pytest.raises(UserError, match="one generator, but has 2"):
        read_model_outputs(save(tmp_path / "two.json", rows))


@pytest.mark.skipif(not (SHARED_DATA / "alpaca_eval").is_dir(), reason="AlpacaEval's data are not beside the project")
@pytest.mark.parametrize("name", ["gpt4_1106_preview", "text_davinci_003"])
def test_published_outputs_are_read_whole(name: str) -> None:
    outputs = read_model_outputs(SHARED_DATA / "alpaca_eval" / f"{name}.model_outputs.jsonl.gz")
    assert len(outputs) == 805
    assert {output.generator for output in outputs} == {name}


def test_an_annotation_needs_no_judge_and_no_data_set() -> None:
    made = Annotation(
        instruction="q", output_1="a", generator_1="reference", output_2="b", generator_2="model", preference=1.5
    )
    assert (made.annotator, made.dataset) == (None, None)


@pytest.mark.parametrize("header", ["index,instruction_difficulty", ",instruction_difficulty"])
def test_difficulties_are_read_in_order(tmp_path: Path, header: str) -> None:
    path = tmp_path / "instruction_difficulty.csv"
    path.write_text(f"{header}\n0,-0.5\n1,1e-9\n", encoding="utf-8")
    assert read_difficulties(path) == [-0.5, 1e-9]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,instruction_difficulty\n0,0.1\n2,0.2\n", r"csv:3: should have index 1"),
        ("index,instruction_difficulty\n0,nan\n", r"csv:2: should have index 0"),
        ("index,instruction_difficulty\n0,\n", r"csv:2: should have an index and a number"),
        ("index,difficulty\n0,0.1\n", r"csv:2: should have an index and a number"),
        ("index,instruction_difficulty\n0\n", r"csv:2: should have an index and a number"),
    ],
)
def test_difficulties_that_skip_an_instruction_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "instruction_difficulty.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        read_difficulties(path)


def test_difficulties_follow_their_instructions() -> None:
    annotations = [
        Annotation.model_validate({**ANNOTATION, "instruction": instruction}) for instruction in ("third", "first")
    ]
    instructions = ["first", "second", "third"]
    assert difficulties_by_instruction(annotations, instructions, [0.1, 0.2, 0.3]) == [0.3, 0.1]
    with pytest.raises(UserError, match="1 instructions have no difficulty; the first is 'third'"):
        difficulties_by_instruction(annotations, instructions[:2], [0.1, 0.2])
    with pytest.raises(UserError, match="2 difficulties for 3 instructions"):
        difficulties_by_instruction(annotations, instructions, [0.1, 0.2])
