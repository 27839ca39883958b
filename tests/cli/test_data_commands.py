"""The commands of ``rt data``: what importing them costs, and what recipes print."""

import subprocess
import sys
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.example import read_examples

HEAVY = ("torch", "transformers", "numpy", "sklearn", "datasketch", "jinja2", "inspect_ai", "datasets", "matplotlib")


def test_the_help_loads_no_heavy_library() -> None:
    code = f"import sys, response_tuning.cli.data_commands\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "\n"


def test_a_recipe_prints_what_it_made_and_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "long.txt").write_text("The mill stood by the river. Nobody came there any more.")
    (tmp_path / "texts" / "short.txt").write_text("Too short.")
    options = ["--continuation", "own", "--least-words", "5", "--output", "halves.jsonl"]
    assert main(["data", "non-instructional", "texts", *options]) == 0
    printed = capsys.readouterr().out
    assert "1 examples written to halves.jsonl" in printed
    assert "left out, too short" in printed
    assert len(read_examples(tmp_path / "halves.jsonl")) == 1
