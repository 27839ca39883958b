"""What preparing and checking data costs: on a real file, and at 5,000, 50,000 and 500,000 rows made of it.

    python benchmarks/data_quality.py ALPACA.jsonl.gz [--rows 5000 50000 500000]

ALPACA.jsonl.gz holds Alpaca's rows (instruction, input, output). Larger files repeat them with a changing word, so that
each row is new and most have near-duplicates. Each command runs in a process of its own, without tokenization; what is
printed is its wall-clock time, its peak memory, and the time for each thousand rows, which stays the same where cost
is linear.
"""

import argparse
import gzip
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

FIELDS = ["--completion-field", "output", "--prompt-field", "instruction", "--context-field", "input"]


@dataclass(frozen=True)
class Cost:
    """What one command took."""

    seconds: float
    peak_memory_bytes: int


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="Alpaca's rows as JSONL, gzipped or not")
    parser.add_argument("--rows", type=int, nargs="*", default=[5_000, 50_000, 500_000], help="sizes of repeated files")
    arguments = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("response-tuning", "datasketch", "numpy", "py3langid"))
    print(f"Python {platform.python_version()}, {packages}; {platform.processor() or platform.machine()}")
    print(f"{'rows':>9} {'command':<14} {'seconds':>8} {'s per 1,000':>12} {'peak MB':>8} {'near-duplicates':>16}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = folder / "whole.jsonl"
        command = ["prepare", str(arguments.source), "--output", str(prepared), "--bad-rows", "drop", *FIELDS]
        cost = run(command)
        rows = sum(1 for _ in prepared.open("rb"))
        report(rows, "data prepare", cost, "")
        check(prepared, rows)
        for size in arguments.rows:
            repeated = folder / "repeated.jsonl"
            write_repeated(arguments.source, repeated, size)
            check(repeated, size)


def check(path: Path, rows: int) -> None:
    """Measure one check, near-duplicates included."""
    found = path.with_suffix(".report.json")
    cost = run(["check", str(path), "--model", "none", "--against", "starter-held-out", "--report", str(found)])
    near = sum(finding["kind"] == "near-duplicate" for finding in json.loads(found.read_text())["defects"])
    report(rows, "data check", cost, f"{near:,}")


def run(arguments: list[str]) -> Cost:
    """Run one data command."""
    started = time.perf_counter()
    # A process between this one and the command, whose only child the command is, so that the peak is the command's.
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-m", "response_tuning", "data", *arguments]
    process = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    return Cost(seconds, int(process.stdout) * (1 if sys.platform == "darwin" else 1024))


def report(rows: int, command: str, cost: Cost, near: str) -> None:
    """Print one line of the table."""
    print(
        f"{rows:>9,} {command:<14} {cost.seconds:>8.1f} {1000 * cost.seconds / rows:>12.3f} "
        f"{cost.peak_memory_bytes / 1e6:>8.0f} {near:>16}",
        flush=True,
    )


def write_repeated(source: Path, target: Path, rows: int) -> None:
    """Write ``rows`` rows: the source's first 5,000 over and over, each time with another word in the middle."""
    with gzip.open(source, "rt", encoding="utf-8") if source.suffix == ".gz" else source.open(encoding="utf-8") as file:
        base = [json.loads(line) for line, _ in zip(file, range(5_000), strict=False)]
    base = [row for row in base if row["output"].strip()]
    with target.open("w", encoding="utf-8") as file:
        for number in range(rows):
            turn, place = divmod(number, len(base))
            words = re.split(r"(\s+)", base[place]["output"])
            words.insert(len(words) // 2, f" word{turn} ")
            row = {"prompt": base[place]["instruction"], "completion": "".join(words)}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
