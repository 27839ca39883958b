"""A study whose driver is killed at random moments ends with the same report, and does nothing twice.

RT_STUDY_KILLS sets how often it is killed (default 2); the issue's sweep is 20.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from response_tuning.example import Example, write_examples
from response_tuning.study.running.records import read_record
from response_tuning.study.running.status import require_plan

KILLS = int(os.environ.get("RT_STUDY_KILLS", "2"))

pytestmark = pytest.mark.slow


def start(file: Path, folder: Path) -> "subprocess.Popen[str]":
    words = ["study", "run", str(file), "--output", str(folder)]
    return subprocess.Popen([sys.executable, "-m", "response_tuning", *words], stderr=subprocess.PIPE, text=True)


def report_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in (folder / "report").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_killed_driver_is_started_again_and_the_report_is_the_same(
    tmp_path: Path, model_folder: Path, examples: list[Example]
) -> None:
    train, held_out, file = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl", tmp_path / "study.yaml"
    write_examples(train, examples[:12])
    write_examples(held_out, examples[12:18])
    values = {
        "axes": {"model": str(model_folder), "data": str(train), "rows": 8, "method": ["base", "rt"]},
        "training": {"epochs": 2, "dtype": "float32", "checkpoint_every_seconds": 0},
        "evaluations": {"probe": {"data": str(held_out), "max_new_tokens": 4, "dtype": "float32"}},
    }
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    assert start(file, whole).wait() == 0
    seconds = time.monotonic() - started

    generator = random.Random(0)
    for number in range(KILLS):
        process = start(file, killed)
        try:
            process.wait(generator.random() * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL if number % 2 == 0 else signal.SIGINT)
            process.wait()
        assert process.stderr is not None and "Traceback" not in process.stderr.read()
        assert process.returncode in (0, -signal.SIGKILL, 130)
    assert start(file, killed).wait() == 0
    assert report_of(killed) == report_of(whole)
    plan = require_plan(killed)
    for key in plan.stages:
        record = read_record(killed, key)
        assert record is not None and record.state == "done" and record.attempts <= KILLS + 1
