"""Killed, or out of disk, at random moments: nothing is lost, nothing is paid for twice, and the result is the same.

Each job is killed and out of disk three times; ``RESPONSE_TUNING_MOMENTS=20`` makes it twenty times each.
"""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.example import Example, write_examples
from response_tuning.support.files import read_json, write_json
from tests.evaluation.judges import KEY, SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve
from tests.quick_process import run_quickly

MOMENTS = int(os.environ.get("RESPONSE_TUNING_MOMENTS", "3"))
CONCURRENT = 2
TEXT = "\u8336\u662f\u70ed\u7684 \U0001f375 caf\u00e9 \u0627\u0644\u0634\u0627\u064a"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTY_API_KEY", KEY)


def interrupted(tmp_path: Path, arguments: list[str], folder: Path, imports: list[str]) -> list[int]:
    """Interrupt a command that writes into ``folder``, then let it end; returns the exit codes."""
    folder.mkdir(exist_ok=True)
    job = {"arguments": arguments, "moments": MOMENTS, "folder": str(folder), "imports": imports}
    write_json(tmp_path / "job.json", job)
    command = [sys.executable, "-m", "tests.end_to_end.interrupting", str(tmp_path / "job.json")]
    root = Path(__file__).parents[2]
    ended = run_quickly(command, text=True, cwd=root)
    assert ended.returncode == 0, ended.stderr
    codes: list[int] = json.loads(ended.stdout)
    return codes


def require_few_asked_twice(server: FaultyServer, codes: list[int], *, questions: int) -> None:
    """What was on its way when a run was interrupted is asked again, and nothing else."""
    interruptions = sum(code != 0 for code in codes)
    assert interruptions > 0
    assert len(server.counts) == questions
    assert len(server.asked) <= questions + interruptions * CONCURRENT


def test_a_refinement_is_resumed_from_any_moment(tmp_path: Path) -> None:
    rows = [Example(completion=f"{TEXT} {number}, {TEXT}. {TEXT}") for number in range(30)]
    write_examples(tmp_path / "in.jsonl", rows)

    def reply(question: str, _: int) -> str:
        (marker,) = re.findall(r'the heading "(### Revision \w+)"', question)
        return f"{marker}\n{question.split('### Text')[-1].strip()} \u2713"

    def command(folder: Path, server: FaultyServer) -> list[str]:
        options = ["--model", SERVED, "--base-url", server.url, "-j", str(CONCURRENT), "--retries", "0"]
        return ["data", "refine", str(tmp_path / "in.jsonl"), "--output", str(folder / "out.jsonl"), *options]

    with serve(reply) as server:
        (tmp_path / "whole").mkdir()
        assert main(command(tmp_path / "whole", server)) == 0
    with serve(reply) as server:
        imports = ["response_tuning.synthesis.refine", "inspect_ai.model", "openai"]
        codes = interrupted(tmp_path, command(tmp_path / "cut", server), tmp_path / "cut", imports)
        require_few_asked_twice(server, codes, questions=len(rows))
    assert (tmp_path / "cut" / "out.jsonl").read_bytes() == (tmp_path / "whole" / "out.jsonl").read_bytes()


def test_a_judged_evaluation_is_resumed_from_any_moment(tmp_path: Path) -> None:
    prompts = [{"instruction": f"{TEXT} {number}?", "category": "safety"} for number in range(20)]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")

    def reply(question: str, _: int) -> str:
        if "VERDICT" not in question:
            return f"{question} {TEXT}"
        return verdict(question, f"safety={1 + len(section(question, 'answer')) % 5}")

    def command(folder: Path, server: FaultyServer) -> list[str]:
        judge = ["--judge", SERVED, "--judge-base-url", server.url, "-j", str(CONCURRENT), "--retries", "0"]
        options = ["--base-url", server.url, "--prompts", str(tmp_path / "prompts.json"), "--offline"]
        return ["eval", "just", SERVED, *options, *judge, "--batch-size", str(CONCURRENT), "--output", str(folder)]

    with serve(reply) as server:
        assert main(command(tmp_path / "whole", server)) == 0
    with serve(reply) as server:
        imports = ["response_tuning.evaluation.just.just_eval", "inspect_ai.model", "inspect_ai.log", "openai"]
        codes = interrupted(tmp_path, command(tmp_path / "cut", server), tmp_path / "cut", imports)
        require_few_asked_twice(server, codes, questions=2 * len(prompts))
    for folder in ("whole", "cut"):
        assert (tmp_path / folder / "metrics.json").exists()
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


def result(folder: Path) -> tuple[Any, bytes]:
    """The numbers and the rows behind them."""
    return read_json(folder / "metrics.json")["metrics"], (folder / "responses.jsonl").read_bytes()


def test_a_training_is_resumed_from_any_moment(tmp_path: Path, model_folder: Path) -> None:
    write_examples(tmp_path / "in.jsonl", [Example(completion=f"{TEXT} {number}") for number in range(24)])

    def command(folder: Path) -> list[str]:
        options = ["--dtype", "float32", "--device", "cpu", "--checkpoint-every-seconds", "0", "--epochs", "5"]
        data = ["--data", str(tmp_path / "in.jsonl"), "--batch-size", "4", "--lora-rank", "2"]
        # Dropout, so that the random state matters; an earlier checkpoint, for a kill while one is written.
        options += ["--lora-dropout", "0.3", "--keep-checkpoints", "2"]
        return ["train", "--model", str(model_folder), *data, "--output", str(folder), *options]

    assert main(command(tmp_path / "whole")) == 0
    imports = ["response_tuning.training.trainer"]
    codes = interrupted(tmp_path, command(tmp_path / "cut" / "run"), tmp_path / "cut", imports)
    assert any(codes)
    run, whole = tmp_path / "cut" / "run", tmp_path / "whole"
    for name in ("adapter/adapter_model.safetensors", "data.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    losses = [[json.loads(line)["loss"] for line in (each / "training.jsonl").open()] for each in (run, whole)]
    assert losses[0] == losses[1]
    left = {path.name for path in run.rglob("*") if path.is_file() and path.name.startswith(".")}
    assert left == set()
