"""The paper's data sets: their own field rules, and the rows that the reference implementation draws."""

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from response_tuning.data.prepare import PrepareConfig, prepare
from response_tuning.data.sources.published import published_rows
from response_tuning.example import Row, read_examples
from response_tuning.support.assets import ASSETS, MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty mirror, with an empty cache behind it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def put(mirror: Path, name: str, content: str) -> None:
    path = mirror / ASSETS[name].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def real_alpaca() -> list[dict[str, Any]]:
    with gzip.open(SHARED_DATA / "alpaca" / "alpaca_data.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_lima_gives_the_first_two_turns_of_its_first_thousand_conversations(mirror: Path) -> None:
    rows = [{"conversations": [f"q{row}", f"a{row}", "more"], "source": "x"} for row in range(1_030)]
    put(mirror, "lima", "".join(json.dumps(row) + "\n" for row in rows))
    found = [row for row in published_rows("lima", offline=True) if isinstance(row, Row)]
    assert len(found) == 1_000
    assert found[999].example.model_dump(exclude_unset=True) == {
        "prompt": "q999",
        "completion": "a999",
        "source": "x",
    }


def test_a_file_with_other_rows_than_published_is_refused(mirror: Path) -> None:
    put(mirror, "lima", '{"conversations": ["q", "a"]}\n')
    with pytest.raises(UserError, match=r"has 1 rows, but .* has 1030"):
        published_rows("lima", offline=True)


def test_offline_names_the_file_that_a_data_set_needs(mirror: Path) -> None:
    del mirror
    with pytest.raises(UserError, match=r"dolly/databricks-dolly-15k\.jsonl is not here"):
        published_rows("dolly", offline=True)


@needs_shared_data
def test_the_rows_drawn_from_alpaca_are_those_of_the_reference(mirror: Path, tmp_path: Path) -> None:
    rows = real_alpaca()
    # The published file, which its digest proves.
    put(mirror, "alpaca-original", json.dumps(rows, indent=4))
    output = tmp_path / "drawn.jsonl"
    prepare(PrepareConfig(source="alpaca-original", output=output, max_examples=1_000, offline=True))
    # As in the reference's generate_training_data.py, in our own words.
    random.seed(0)
    order = list(range(len(rows)))
    random.shuffle(order)
    wanted = [rows[place] for place in order[:1_000]]
    assert [(example.prompt, example.completion) for example in read_examples(output)] == [
        (f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"], row["output"])
        for row in wanted
    ]


@needs_shared_data
def test_alpacaeval_has_the_reference_s_responses(mirror: Path) -> None:
    with gzip.open(
        SHARED_DATA / "alpaca_eval" / "gpt4_1106_preview.model_outputs.jsonl.gz", "rt", encoding="utf-8"
    ) as file:
        outputs = [json.loads(line) for line in file]
    put(mirror, "gpt4_1106_preview", json.dumps(outputs))
    rows = [row.example for row in published_rows("alpaca-eval", offline=True) if isinstance(row, Row)]
    assert [(row.prompt, row.completion) for row in rows] == [(row["instruction"], row["output"]) for row in outputs]
    assert len(rows) == 805


@needs_shared_data
def test_dolly_has_its_context_after_the_instruction(tmp_path: Path) -> None:
    # Not the published file (its order is lost), so it is read as a local one with the same fields.
    path = tmp_path / "dolly.jsonl.gz"
    shutil.copy(SHARED_DATA / "dolly" / "databricks-dolly-15k.jsonl.gz", path)
    config = PrepareConfig(
        source=str(path),
        output=tmp_path / "out.jsonl",
        completion_field="response",
        prompt_field="instruction",
        context_field="context",
    )
    assert prepare(config).written == 15_011
    with gzip.open(path, "rt", encoding="utf-8") as file:
        source = [json.loads(line) for line in file]
    for row, example in zip(source, read_examples(config.output), strict=True):
        assert example.prompt == row["instruction"] + (f"\n\n{row['context']}" if row["context"] else "")
        assert example.model_extra == {"category": row["category"]}
