"""Published files in the harness's shape: what is converted, left out and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from response_tuning.evaluation.capabilities.task_data import write_local_tasks
from response_tuning.support.errors import UserError

ARC_ROW = {
    "id": "a1",
    "question": {"stem": "What melts?", "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}]},
    "answerKey": "A",
}


def mmlu_row(subject: str) -> dict[str, Any]:
    return {"subject": subject, "question": "Which?", "choices": ["w", "x", "y", "z"], "answer": "C"}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_nested_choices_become_parallel_lists(tmp_path: Path) -> None:
    write_rows(tmp_path / "data/arc/ARC-Easy-Test.jsonl", [ARC_ROW])
    assert write_local_tasks(("arc_easy",), tmp_path / "data", tmp_path / "tasks") == []
    assert written(tmp_path / "tasks/arc_easy.test.jsonl") == [
        {"question": "What melts?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "A"}
    ]


def test_a_task_file_changes_where_the_rows_are_and_nothing_else(tmp_path: Path) -> None:
    write_rows(tmp_path / "data/arc/ARC-Easy-Test.jsonl", [ARC_ROW])
    write_local_tasks(("arc_easy",), tmp_path / "data", tmp_path / "tasks")
    definition = yaml.safe_load((tmp_path / "tasks/arc_easy.yaml").read_text())
    assert definition.pop("include").endswith("lm_eval/tasks/arc/arc_easy.yaml")
    assert definition.pop("dataset_kwargs") == {"data_files": {"test": str(tmp_path / "tasks/arc_easy.test.jsonl")}}
    assert definition == {
        "task": "arc_easy",
        "dataset_path": "json",
        "dataset_name": None,
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": None,
    }


def test_hellaswag_is_read_as_published_and_with_its_context_joined(tmp_path: Path) -> None:
    rest = {"activity_label": "Jumping", "endings": ["a", "b", "c", "d"]}
    published = {**rest, "ctx_a": "A boy runs.", "ctx_b": "the boy", "ctx": "A boy runs. the boy", "label": 2}
    write_rows(
        tmp_path / "data/hellaswag/hellaswag_val.jsonl",
        [published, {**rest, "ctx": "A boy runs. the boy", "label": "2"}],
    )
    write_local_tasks(("hellaswag",), tmp_path / "data", tmp_path / "tasks")
    assert written(tmp_path / "tasks/hellaswag.validation.jsonl") == [
        {**rest, "ctx_a": "A boy runs.", "ctx_b": "the boy", "label": "2"},
        {**rest, "ctx_a": "A boy runs. the boy", "ctx_b": "", "label": "2"},
    ]


def test_mmlu_gets_a_task_per_subject_and_the_missing_ones_are_named(tmp_path: Path) -> None:
    subjects = ("anatomy", "philosophy", "sociology", "virology")
    write_rows(tmp_path / "data/mmlu/mmlu_test.jsonl", [mmlu_row(subject) for subject in subjects])
    notes = write_local_tasks(("mmlu",), tmp_path / "data", tmp_path / "tasks")
    assert len(notes) == 1
    assert "astronomy" in notes[0]
    assert "4 subjects are counted" in notes[0]
    names = [path.name for path in sorted((tmp_path / "tasks").glob("*.yaml"))]
    assert names == [f"mmlu_{subject}.yaml" for subject in subjects]
    assert [row["answer"] for row in written(tmp_path / "tasks/mmlu_anatomy.test.jsonl")] == [2]


def test_mmlu_without_a_whole_group_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "mmlu/mmlu_test.jsonl", [mmlu_row("anatomy"), mmlu_row("virology")])
    with pytest.raises(UserError, match="no subject of: humanities, social sciences"):
        write_local_tasks(("mmlu",), tmp_path, tmp_path / "tasks")


def test_a_subject_that_the_harness_does_not_know_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "mmlu/mmlu_test.jsonl", [mmlu_row("alchemy")])
    with pytest.raises(UserError, match="no subject alchemy"):
        write_local_tasks(("mmlu",), tmp_path, tmp_path / "tasks")


def test_all_bad_rows_are_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "piqa/valid.jsonl"
    write_rows(path, [{"goal": "g", "sol1": "a", "sol2": "b"}, {"goal": "g", "sol1": "a", "sol2": "b", "label": "x"}])
    path.write_text(path.read_text() + "{not json\n")
    with pytest.raises(UserError) as error:
        write_local_tasks(("piqa",), tmp_path, tmp_path / "tasks")
    lines = str(error.value).splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines] == ["1", "2", "3"]
    assert "no field 'label'" in lines[0]
    assert not (tmp_path / "tasks").exists()


def test_a_missing_file_and_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exactly one file piqa/valid\*.jsonl, and there is none"):
        write_local_tasks(("piqa",), tmp_path, tmp_path / "tasks")
    for name in ("valid.jsonl", "valid_2.jsonl"):
        write_rows(tmp_path / "piqa" / name, [{"goal": "g", "sol1": "a", "sol2": "b", "label": 0}])
    with pytest.raises(UserError, match=r"valid.jsonl, valid_2.jsonl"):
        write_local_tasks(("piqa",), tmp_path, tmp_path / "tasks")


def test_a_data_folder_that_is_not_there_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="folders arc, mmlu"):
        write_local_tasks(("mmlu", "arc_easy"), tmp_path / "nowhere", tmp_path / "tasks")
