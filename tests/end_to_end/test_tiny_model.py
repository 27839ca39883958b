"""Whole commands on a tiny random model."""

import json
import sys
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.example import Example, write_examples
from tests.quick_process import run_quickly


@pytest.fixture
def arguments(tmp_path: Path, model_folder: Path, examples: list[Example]) -> list[str]:
    training, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    write_examples(training, examples[:16])
    write_examples(held_out, examples[16:24])
    files = ["--data", str(training), "--held-out", str(held_out), "--output", str(tmp_path / "quickstart")]
    return ["quickstart", "--model", str(model_folder), *files, "--epochs", "1", "--max-new-tokens", "8"]


def test_quickstart_makes_both_runs_their_probes_a_summary_and_a_page(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    assert "responds" in capsys.readouterr().out
    folder = tmp_path / "quickstart"
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary) == ["base", "rt", "it", "runs", "size", "seconds", "peak_memory_bytes"]
    assert set(summary["rt"]["stops"]) == {"value", "n", "low", "high"}
    assert summary["peak_memory_bytes"] > 100_000_000
    assert len(summary["seconds"]) == 6
    assert (folder / "report.html").stat().st_size > 5_000
    assert (folder / "rt" / "adapter" / "adapter_model.safetensors").exists()

    (folder / "it" / "evaluations" / "probe" / "metrics.json").unlink()
    trained = (folder / "it" / "training.jsonl").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (folder / "it" / "training.jsonl").stat().st_mtime_ns == trained
    assert json.loads((folder / "summary.json").read_text())["it"] == summary["it"]

    # Two more trainings, and intervals that hold for new seeds.
    assert main([*arguments, "--seeds", "2"]) == 0
    assert (folder / "it" / "training.jsonl").stat().st_mtime_ns == trained
    assert "8 held-out instructions and 2 seeds" in capsys.readouterr().err.replace("\n", " ")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == {"base": ["base"], "rt": ["rt", "rt-seed-1"], "it": ["it", "it-seed-1"]}
    rows = [
        json.loads(line)["values"]["stops"]
        for run in summary["runs"]["rt"]
        for line in (folder / run / "evaluations" / "probe" / "responses.jsonl").read_text().splitlines()
    ]
    assert summary["rt"]["stops"]["value"] == pytest.approx(sum(rows) / 16)
    assert summary["rt"]["stops"]["n"] == 8

    assert main([*arguments, "--seed", "1"]) == 2
    assert "seed: 0 there, 1 now" in capsys.readouterr().err


def test_a_run_answers_piped_questions(tmp_path: Path, model_folder: Path, examples: list[Example]) -> None:
    data = tmp_path / "answers.jsonl"
    write_examples(data, [Example(completion=example.completion) for example in examples[:8]])
    run = tmp_path / "run"
    train = ["train", "--model", str(model_folder), "--data", str(data), "--output", str(run), "--epochs", "1"]
    assert main(train) == 0
    command = [sys.executable, "-m", "response_tuning", "chat", str(run), "--max-new-tokens", "5"]
    process = run_quickly(command, written="Why is the sky blue?\n\nAnd the sea?\n", text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("\n") >= 2
