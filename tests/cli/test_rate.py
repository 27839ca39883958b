"""``rt rate`` from the command line: prepared, served, killed, resumed, reported and exported; and what goes wrong."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.cli.main import main
from response_tuning.people.store import open_store
from response_tuning.people.web.serve_rating import is_loopback
from response_tuning.support.files import read_json_lines, write_json, write_json_lines
from tests.conftest import tiny_model

pytest.importorskip("starlette")
pytest.importorskip("evalica")

PROMPTS = ["Name a river.", "Name a city.", "Name a colour.", "Name a tree."]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # tables are not wrapped


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    write_json_lines(path, [{"prompt": prompt} for prompt in PROMPTS])
    return path


@pytest.fixture
def files(tmp_path: Path, prompts: Path) -> list[str]:
    """Two runs that are files of responses."""
    write_json_lines(tmp_path / "one.jsonl", [{"prompt": p, "response": f"{p} One."} for p in PROMPTS])
    write_json(
        tmp_path / "other.json", [{"instruction": p, "output": f"{p} Other.", "generator": "o"} for p in PROMPTS]
    )
    return ["one.jsonl", "other.json", "--prompts", str(prompts)]


def prepare(*words: str, output: str = "rating") -> int:
    return main(["rate", *words, "--output", output, "--prepare-only"])


def test_missing_responses_are_generated_once(
    tmp_path: Path,
    prompts: Path,
    model_folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other"
    tiny_model(tokenizer, seed=1).save_pretrained(other)
    tokenizer.save_pretrained(str(other))
    runs = [str(model_folder), str(other)]
    words = [*runs, "--prompts", str(prompts), "--max-new-tokens", "6", "--dtype", "float32"]
    assert prepare(*words, "--raters", "2") == 0
    assert "4 of 4 responses are missing" in capsys.readouterr().err.replace("\n", " ")
    store = open_store(tmp_path / "rating")
    assert store.runs == runs and len(store.responses) == 8 and len(store.rater_tokens) == 2
    store.close()

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was asked again")

    # Wherever an evaluation has saved them, and without loading a model.
    folder = tmp_path / "runs" / f"base-{model_folder.name}" / "evaluations"
    (folder / "rating").rename(folder / "alpaca")
    monkeypatch.setattr("response_tuning.people.responses.respond_here", fail)
    assert prepare(*words, "--raters", "3", output="second") == 0
    again = open_store(tmp_path / "second")
    assert len(again.rater_tokens) == 3
    again.close()


def served(output: Path, *words: str) -> tuple["subprocess.Popen[bytes]", list[str], str]:
    """A server, the raters' links, and the administrator's."""
    command = [sys.executable, "-m", "response_tuning", "rate", "--output", str(output), "--port", "0", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    assert process.stdout is not None
    links: list[str] = []
    while not links or not links[-1].startswith("administrator"):
        line = process.stdout.readline().decode().strip()
        assert line, "the server did not start"
        links.append(line)
    found = [line.split(": ")[1] for line in links]
    return process, found[:-1], found[-1]


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def vote(link: str) -> str:
    """Prefer the response that ends in "One."; returns the assignment."""
    screen = ask(f"{link}/screen")["screen"]
    is_left = screen["left"].endswith("One.")
    levels = {"left_level": 0 if is_left else 2, "right_level": 2 if is_left else 0}
    ask(f"{link}/vote", {"assignment": screen["id"], **levels, "preference": 0 if is_left else 2, "seconds": 1})
    return str(screen["id"])


def test_a_rating_survives_its_server_and_is_reported(
    tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(*files, "--raters", "2") == 0
    output = tmp_path / "rating"
    process, links, _ = served(output)
    voted = [vote(links[0]), vote(links[0]), vote(links[1])]
    process.kill()
    process.wait()
    process, links, administrator = served(output)
    try:
        assert ask(f"{links[0]}/screen")["done"] == 2
        voted += [vote(link) for link in (links[0], links[0], *[links[1]] * 3)]
        with urllib.request.urlopen(administrator, timeout=10) as page:
            assert "Rater 1: 4 of 4 screens" in page.read().decode()
    finally:
        process.kill()
        process.wait()
    capsys.readouterr()
    assert main(["rate", "report", "rating", "--join", "majority"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"one\.jsonl.*100\.0%", printed) and re.search(r"other\.json.*0\.0%", printed)
    assert "not defined" in printed  # of preferences: all raters prefer the same run
    assert (output / "report.html").exists() and (output / "report.csv").exists()
    assert main(["rate", "export", "rating", "--to", "pairs", "--output", "pairs.jsonl"]) == 0
    assert [row["completion"] for row in read_json_lines(tmp_path / "pairs.jsonl")] == [f"{p} One." for p in PROMPTS]
    store = open_store(output)
    assert {assignment for (assignment,) in store.rows("SELECT assignment FROM votes")} == set(voted)
    store.close()


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one message of a command that fails for a reason of the user's."""
    capsys.readouterr()
    assert main(list(words)) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return " ".join(printed.split())


def test_errors_say_what_to_do(tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    one, other, *asked = files
    quiet = ["--prepare-only", "--output", "new"]
    for words, message in (
        ([], "holds no rating yet. Name the runs"),
        ([one, *asked], "compares runs, and there is one"),
        ([one, one, *asked], "named twice"),
        ([one, other, *asked, "--protocol", "ankim"], "Choose an-kim, tulu"),
        ([one, other, *asked, "--attention-checks", "9"], "has 4 attention checks"),
        ([one, "missing.jsonl", *asked], "There is no file missing.jsonl"),
        ([one, "openai/gpt-4o", *asked], "is behind a server"),
        ([one, one.replace("one", "short"), *asked], "has no response to 3 of 4 prompts, such as 'Name a city.'"),
        ([one, "bad.jsonl", *asked], "bad.jsonl:2: should have a text 'prompt' and a text 'response'"),
        ([one, other, "--prompts", "bare.jsonl"], "bare.jsonl:1: should have a text 'prompt', and has: text"),
        ([one, other, "--prompts", "nowhere.jsonl"], "nowhere.jsonl"),
        ([one, "same.jsonl", *asked], "there is nothing to rate"),
    ):
        write_json_lines(tmp_path / "short.jsonl", [{"prompt": PROMPTS[0], "response": "x"}])
        write_json_lines(tmp_path / "bad.jsonl", [{"prompt": PROMPTS[0], "response": "x"}, {"prompt": "y"}])
        write_json_lines(tmp_path / "bare.jsonl", [{"text": "x"}])
        write_json_lines(tmp_path / "same.jsonl", [{"prompt": p, "response": f"{p} One."} for p in PROMPTS])
        assert message in fails(capsys, "rate", *words, *quiet)
        assert not (tmp_path / "new").exists()


def test_a_folder_holds_one_rating(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(*files) == 0
    assert prepare(*files) == 0
    assert prepare() == 0
    message = fails(capsys, "rate", *files, "--raters", "5", "--output", "rating", "--prepare-only")
    assert "planned with raters 3, and not 5" in message and "rt rate --output rating" in message
    assert "has no votes yet" in fails(capsys, "rate", "report", "rating")
    assert "holds no rating" in fails(capsys, "rate", "report", "elsewhere")
    assert "no votes yet" in fails(capsys, "rate", "export", "rating", "--output", "votes.jsonl")


def test_serving_needs_a_free_port_and_a_pair_of_files(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(*files) == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "Choose another --port" in fails(capsys, "rate", "--output", "rating", "--port", port)
    message = fails(capsys, "rate", "--output", "rating", "--certificate", "c.pem")
    assert "--certificate and --key belong together" in message
    message = fails(capsys, "rate", "--output", "rating", "--port", "0", "--certificate", "c.pem", "--key", "k.pem")
    assert "There is no file c.pem" in message
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("example.org")


def test_flagged_prompts_are_held_if_asked(tmp_path: Path, files: list[str]) -> None:
    write_json_lines(tmp_path / "prompts.jsonl", [{"prompt": p, "flagged": p.endswith("tree.")} for p in PROMPTS])
    assert prepare(*files, "--hold-flagged", "--training", "--attention-checks", "2") == 0
    store = open_store(tmp_path / "rating")
    assert (store.progress(0).total, store.progress(0).held) == (3 + 2 + 3, 1)
    store.close()
