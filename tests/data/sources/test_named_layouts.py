"""``rt data prepare --layout``: rows in the layouts of other tools, recognised or named."""

import json
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.example import read_examples

TURNS = [{"from": "human", "value": "Where is my invoice?"}, {"from": "gpt", "value": "Under Billing."}]
MESSAGES = [{"role": "user", "content": "Where is my invoice?"}, {"role": "assistant", "content": "Under Account."}]
ROWS: dict[str, dict[str, Any]] = {
    "sharegpt": {"conversations": TURNS},
    "alpaca": {"instruction": "Where is my invoice?", "input": "", "output": "Under Menu."},
    "openai": {"messages": MESSAGES},
    "trl": {"prompt": MESSAGES[:1], "completion": [{"role": "assistant", "content": "Under Home."}]},
    "preference": {"prompt": "Where is my invoice?", "chosen": "Under Papers.", "rejected": "No idea."},
}
RESPONSES = {
    "sharegpt": "Under Billing.",
    "alpaca": "Under Menu.",
    "openai": "Under Account.",
    "trl": "Under Home.",
    "preference": "Under Papers.",
}
NAMES = {
    "sharegpt": "ShareGPT (conversations)",
    "alpaca": "Alpaca (instruction, input, output)",
    "openai": "OpenAI chat (messages)",
    "trl": "TRL's conversational prompt and completion",
    "preference": "preferences (the response is 'chosen')",
}


def prepared(folder: Path, row: dict[str, Any], *options: str) -> int:
    (folder / "rows.json").write_text(json.dumps([row]))
    return main(["data", "prepare", str(folder / "rows.json"), "--output", str(folder / "out.jsonl"), *options])


@pytest.mark.parametrize("layout", ROWS)
def test_each_layout_is_found_out_by_itself_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    assert prepared(tmp_path, ROWS[layout]) == 0
    assert f"1 rows read as {NAMES[layout]}" in capsys.readouterr().err
    automatic = (tmp_path / "out.jsonl").read_bytes()
    assert prepared(tmp_path, ROWS[layout], "--layout", layout) == 0
    assert (tmp_path / "out.jsonl").read_bytes() == automatic
    (example,) = read_examples(tmp_path / "out.jsonl")
    assert (example.prompt, example.completion) == ("Where is my invoice?", RESPONSES[layout])


@pytest.mark.parametrize("layout", ROWS)
def test_a_row_that_could_be_read_in_several_ways_is_read_as_asked(tmp_path: Path, layout: str) -> None:
    everything = {name: value for row in ROWS.values() for name, value in row.items() if name != "prompt"}
    everything |= {"prompt": ROWS["trl" if layout == "trl" else "preference"]["prompt"]}
    assert prepared(tmp_path, everything, "--layout", layout) == 0
    (example,) = read_examples(tmp_path / "out.jsonl")
    assert example.completion == RESPONSES[layout]


@pytest.mark.parametrize("layout", ROWS)
def test_a_row_of_another_layout_is_named_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str
) -> None:
    assert prepared(tmp_path, {"question": "Where?", "answer": "There."}, "--layout", layout) == 2
    error = capsys.readouterr().err
    assert "rows.json row 1: is not in the layout " + layout in error.replace("rows.json:1", "rows.json row 1")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_layout_and_named_fields_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepared(tmp_path, ROWS["alpaca"], "--layout", "alpaca", "--completion-field", "output") == 2
    assert "Use one." in capsys.readouterr().err
