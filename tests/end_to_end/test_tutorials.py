"""Every command of the first tutorial runs as it is written, on a tiny model in place of the embedded one."""

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.cli.main import main
from response_tuning.data.sources.load_examples import load_examples
from tests.conftest import tiny_model

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "support-replies.md"
SMALLER = {
    "rt train": ["--model", "base-tiny", "--epochs", "1"],
    "rt eval probe": ["--max-new-tokens", "8", "--max-examples", "6"],
    "rt export": ["--check-prompts", "2", "--check-tokens", "4"],
}
"""What is added to a command, so that a tiny model is enough."""


def commands() -> list[str]:
    return re.findall(r"^ {4}(rt .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def as_run_here(line: str) -> list[str]:
    words = ["base-tiny" if word == "embedded" else word for word in shlex.split(line)[1:]]
    words = ["runs/base-base-tiny" if word == "runs/base-embedded" else word for word in words]
    return [*words, *next((more for start, more in SMALLER.items() if line.startswith(start)), [])]


def write_replies(path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["ticket", "agent", "reply"])
        for number, example in enumerate(load_examples("starter")[:200]):
            rows.writerow([f"T-{1000 + number}", "Ana", example.completion])


@pytest.mark.slow
def test_the_first_tutorial_makes_a_measured_and_exported_model_from_a_csv_file(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_replies(Path("replies.csv"))
    tiny_model(tokenizer).save_pretrained("base-tiny")
    tokenizer.save_pretrained("base-tiny")
    lines = [line for line in commands() if not line.startswith("rt chat")]
    assert len(lines) == 6
    for line in lines:
        assert main(as_run_here(line)) == 0, f"{line}\n{capsys.readouterr().err}"
    assert "200 examples of 200 rows written" in capsys.readouterr().out
    assert len(Path("runs/mine/training.jsonl").read_text().splitlines()) == 13
    assert json.loads(Path("runs/mine/evaluations/probe/metrics.json").read_text())["metrics"]["stops"]["n"] == 6
    assert Path("exports/mine/model.safetensors").exists()
