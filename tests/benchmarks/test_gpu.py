"""``benchmarks/gpu.py`` runs through on a CPU, with tiny models."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_every_line_is_measured_or_says_why_not(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    options = ["--tiny", "--here", "--device", "cpu", "--examples", "12", "--seconds", "0.01", "--output", str(output)]
    run = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stderr[-2000:]
    report = json.loads(output.read_text())
    left_out = {name: result["left_out"] for name, result in report["results"].items() if "left_out" in result}
    assert all("not installed" in why or why == "needs a CUDA GPU" for why in left_out.values()), left_out
    measured = {name: result["value"] for name, result in report["results"].items() if "value" in result}
    assert len(measured) >= 11
    assert all(value > 0 for value in measured.values()), measured
    assert all(name in run.stdout for name in report["results"])
