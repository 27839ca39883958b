"""The raters' server under load: many raters who vote at a steady rate, each a client of their own.

    python benchmarks/rating.py --raters 20 --votes-per-second 2 --seconds 60

Prints a JSON object: votes sent and saved, the quantiles of a vote's time in milliseconds, from sending to the answer
that it is on the disk, the server's peak memory, and its processor time per vote with its screen. Every rater asks for
each screen, as the page does.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import psutil
import tyro
from pydantic import BaseModel, Field

from response_tuning.people.create_store import create_store
from response_tuning.people.plan import plan_assignments
from response_tuning.people.protocol import PROTOCOLS
from response_tuning.people.store import DATABASE, Store, open_store


class LoadConfig(BaseModel):
    """How much load."""

    raters: int = Field(default=20, ge=1)
    """How many vote at once."""
    votes_per_second: float = Field(default=2.0, gt=0)
    """Of each of them."""
    seconds: float = Field(default=60.0, gt=0)
    """For how long."""
    response_characters: int = 2_000
    """The length of each response."""


def main(config: LoadConfig) -> None:
    """Measure, and print the result."""
    with tempfile.TemporaryDirectory() as folder:
        store = _rating(Path(folder), config)
        process, port = _server(Path(folder))
        try:
            milliseconds = _all_votes(store, port, config)
            peak, processor_seconds = _peak_megabytes(process.pid), psutil.Process(process.pid).cpu_times().user
        finally:
            process.kill()
            process.wait()
        ((saved,),) = store.rows("SELECT count(*) FROM votes")
        store.close()
    cuts = statistics.quantiles(milliseconds, n=1000)
    quantiles = {"p50": cuts[499], "p95": cuts[949], "p99": cuts[989], "longest": max(milliseconds)}
    result = {
        **config.model_dump(),
        "votes_sent": len(milliseconds),
        "votes_saved": saved,
        **{f"{name}_milliseconds": round(value, 1) for name, value in quantiles.items()},
        "peak_memory_megabytes": peak,
        "processor_milliseconds_per_vote": round(1000 * processor_seconds / len(milliseconds), 2),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))


def _rating(folder: Path, config: LoadConfig) -> Store:
    prompts = int(config.seconds * config.votes_per_second) + 1
    text = "word " * (config.response_characters // 5)
    responses = [[f"{text} {prompt} {run}" for run in range(2)] for prompt in range(prompts)]
    create_store(
        folder / DATABASE,
        protocol=PROTOCOLS["an-kim"],
        runs=["one", "other"],
        prompts=[f"prompt {number}" for number in range(prompts)],
        responses=responses,
        assignments=plan_assignments(responses, raters=config.raters, overlap=1.0, pairs=True, seed=0),
        raters=config.raters,
        settings={},
    ).close()
    return open_store(folder)


def _server(folder: Path) -> tuple["subprocess.Popen[str]", int]:
    command = [sys.executable, "-m", "response_tuning", "rate", "--output", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    port = int(line.split("127.0.0.1:")[1].split("/")[0])
    return process, port


def _all_votes(store: Store, port: int, config: LoadConfig) -> list[float]:
    """The time of each vote, in milliseconds."""
    times: list[list[float]] = [[] for _ in range(config.raters)]
    begin = time.monotonic() + 1
    threads = [
        threading.Thread(target=_votes_of, args=(token, port, config, begin + number / config.raters, times[number]))
        for number, token in enumerate(store.rater_tokens)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [milliseconds for of_rater in times for milliseconds in of_rater]


def _votes_of(token: str, port: int, config: LoadConfig, begin: float, times: list[float]) -> None:
    """Vote at a steady rate; a late vote does not delay the ones that follow."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    for number in range(int(config.seconds * config.votes_per_second)):
        time.sleep(max(0.0, begin + number / config.votes_per_second - time.monotonic()))
        connection.request("GET", f"/rate/{token}/screen")
        screen = json.loads(connection.getresponse().read())["screen"]
        vote = {"assignment": screen["id"], "left_level": 0, "right_level": 1, "preference": 2, "seconds": 0.5}
        sent = time.perf_counter()
        connection.request("POST", f"/rate/{token}/vote", json.dumps(vote), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        times.append(1000 * (time.perf_counter() - sent))
        assert answer.status == 200
    connection.close()


def _peak_megabytes(process: int) -> int:
    """The peak of a process's resident memory."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    main(tyro.cli(LoadConfig))
