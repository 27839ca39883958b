"""A data spec into rows: names, the hub's library, files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from response_tuning.data.sources.fields import Fields
from response_tuning.data.sources.load_examples import (
    STARTER_HELD_OUT,
    STARTER_LOOK_ALIKES,
    STARTER_REFUSALS,
    SourceOptions,
    load_examples,
    read_rows,
)
from response_tuning.example import Example, Row
from response_tuning.support.errors import UserError
from response_tuning.support.options import STARTER
from response_tuning.support.records import BadRow


def test_the_starter_set_is_there_by_name() -> None:
    assert len(load_examples(STARTER)) == 320
    assert len(load_examples(STARTER_HELD_OUT)) == 80


def test_the_starter_refusals_and_their_look_alikes_are_there_by_name() -> None:
    refusals, look_alikes = load_examples(STARTER_REFUSALS), load_examples(STARTER_LOOK_ALIKES)
    assert (len(refusals), len(look_alikes)) == (60, 60)
    # Each name leads to its own file: only one of the two declines.
    assert "I won't plan an attack" in refusals[0].completion
    assert "speak to him in person" in look_alikes[0].completion


def test_training_takes_any_local_format(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\np,c\n")
    (tmp_path / "a.json").write_text(json.dumps([{"prompt": "p", "completion": "c"}]))
    (tmp_path / "a.md").write_text("c\n")
    assert load_examples(str(tmp_path / "a.csv")) == load_examples(str(tmp_path / "a.json"))
    assert load_examples(str(tmp_path / "a.md"))[0].completion == "c"


def test_good_and_bad_rows_come_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"completion": "a"}\n{"completion": ""}\n\n{"completion": "b"}\n')
    first, second, third = read_rows(str(path))
    assert first == Row(f"{path}:1", 1, Example(completion="a"))
    assert second == BadRow(f"{path}:2", 2, "field 'completion' is empty: ''")
    assert third == Row(f"{path}:4", 4, Example(completion="b"))


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in the form of one on the hub, with two splits."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"q": "one", "a": "1"}\n{"q": "two", "a": "2"}\n')
    (folder / "test.jsonl").write_text('{"q": "three", "a": "3"}\n')
    return folder


@pytest.mark.slow
def test_a_hub_data_set_is_read_with_a_field_mapping(hub_folder: Path) -> None:
    fields = Fields(completion="a", prompt="q")
    train = read_rows(f"hub:{hub_folder}", SourceOptions(fields=fields))
    assert [row.example.prompt for row in train if isinstance(row, Row)] == ["one", "two"]
    (test,) = read_rows(f"hub:{hub_folder}", SourceOptions(fields=fields, split="test"))
    assert isinstance(test, Row)
    assert test.example == Example(prompt="three", completion="3")


@pytest.mark.slow
def test_a_hub_data_set_that_cannot_be_loaded_is_one_clear_message(hub_folder: Path) -> None:
    with pytest.raises(UserError, match=r"split 'validation'\) cannot be loaded"):
        read_rows(f"hub:{hub_folder}", SourceOptions(split="validation"))


@pytest.mark.slow
def test_offline_nothing_is_fetched_from_the_hub(tmp_path: Path) -> None:
    # In a process of its own: the hub's library looks once whether it may use the network.
    command = [sys.executable, "-m", "response_tuning", "data", "prepare", "hub:no/such", "--offline"]
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    started = time.monotonic()
    process = subprocess.run(
        [*command, "--output", str(tmp_path / "out.jsonl")], env=environment, capture_output=True, text=True
    )
    assert process.returncode == 2
    assert "'no/such'" in process.stderr
    assert "Traceback" not in process.stderr
    # The library tries for more than twenty seconds where it may.
    assert time.monotonic() - started < 15


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"There is no file none\.csv"):
        load_examples("none.csv")
