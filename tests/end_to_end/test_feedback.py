"""From a log of conversations with known feedback to a model that was tuned on it, with a served model as the judge.

RESPONSE_TUNING_CONVERSATIONS is how many conversations the log has; the test holds for 200 and more, which take longer.
"""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.example import read_examples
from response_tuning.support.files import read_json, write_json_lines
from tests.evaluation.judges import KEY, SERVED
from tests.inference.faulty_server import serve
from tests.synthesis.feedback_log import MISREAD, feedback_log, feedback_reply

CONVERSATIONS = int(os.environ.get("RESPONSE_TUNING_CONVERSATIONS", "60"))
QUICK = ["--epochs", "1", "--batch-size", "32", "--lora-rank", "2", "--held-out", "", "--format", "tulu"]
HERE = ["--dtype", "float32", "--device", "cpu"]


def test_feedback_to_pairs_to_supervised_to_preference_tuning_to_the_checklist(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAULTY_API_KEY", KEY)
    log = feedback_log(CONVERSATIONS)
    write_json_lines(Path("log.jsonl"), log)
    labels = Counter(row["messages"][2]["feedback"] for row in log if len(row["messages"]) > 2)
    misread = sum(row["messages"][-1]["content"] == MISREAD for row in log)
    with serve(feedback_reply) as server:
        feedback = ["data", "feedback", "log.jsonl", "--model", SERVED, "--base-url", server.url, "-j", "8"]
        feedback += ["--output", "pairs.jsonl", "--labels", "log.jsonl", "--responses", "kept.jsonl"]
        assert main(feedback) == 0
        printed = capsys.readouterr().out
        assert max(server.counts.values()) == 1
        # Killed in the middle of a line: what was paid for is not asked for again.
        ledger = Path("pairs.audit.jsonl")
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join(lines[:-40]) + lines[-40][:30])
        asked = len(server.asked)
        assert main(feedback) == 0
        assert capsys.readouterr().out == printed
        assert len(server.asked) == asked + 40

        # Irony is read as thanks: of all labels, the server is wrong on these alone.
        pairs = read_examples("pairs.jsonl")
        assert len(pairs) == labels["dissatisfied"] + labels["both"] - misread
        assert len(read_examples("kept.jsonl")) == len(pairs) + labels["satisfied"] + misread
        found = re.search(r"kappa\W+(\d\.\d\d) \(\S+\)\W+(\d\.\d\d) \(", printed)
        assert found is not None
        assert all(0.8 < float(kappa) < 1 for kappa in found.groups())
        states = [int(rows) for rows in re.findall(r"(\d+) \S? *\d+\.\d%", printed)]
        assert sum(states) == CONVERSATIONS

        train = ["train", "--model", str(model_folder), *QUICK, *HERE, "--max-length", "512"]
        assert main([*train, "--method", "rt", "--data", "kept.jsonl", "--output", "rt"]) == 0
        assert main([*train, "--method", "it", "--data", "pairs.jsonl", "--output", "sft"]) == 0
        dpo = ["train", "--from-run", "sft", "--method", "it", "--preference-loss", "dpo", "--data", "pairs.jsonl"]
        dpo += ["--epochs", "1", "--batch-size", "32", "--held-out", "", *HERE, "--output", "dpo"]
        assert main([*dpo, "--learning-rate", "1e-3"]) == 0
        checklist = ["eval", "checklist", "dpo", "--reference", "sft", "--data", "pairs.jsonl", "--max-examples", "6"]
        checklist += ["--judge", SERVED, "--judge-base-url", server.url, "--max-new-tokens", "8", *HERE]
        assert main(checklist) == 0
    metrics = read_json(Path("dpo/evaluations/checklist/metrics.json"))["metrics"]
    outcome = metrics["with_checklist"]
    assert outcome["wins"] + outcome["ties"] + outcome["losses"] == 6
    assert metrics["without_verdict"] == 0
