"""``rt serve`` as a command: it proves itself, says where it serves, and ends when it is told to."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from response_tuning.cli.main import main
from response_tuning.models.switching import SwitchableModel
from response_tuning.serving.listening import listen
from response_tuning.serving.load_served import named_runs
from response_tuning.serving.serve import serve
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.support.errors import UserError
from tests.serving.command_line import Process, rt_serve

PLAIN = ("--dtype", "float32", "--device", "cpu", "--port", "0")


@pytest.fixture(scope="module")
def process(run_specs: dict[str, str]) -> Iterator[Process]:
    """All runs, served by a process of their own."""
    runs = [f"{name}={spec}" for name, spec in run_specs.items()]
    with rt_serve(*runs, *PLAIN) as running:
        running.url()
        yield running


def test_each_run_is_proved_over_http_before_it_is_served(process: Process) -> None:
    for name in ("shown", "ruled", "base", "rt", "it"):
        assert re.search(rf"{name}, read by this server: 9 of 9 prompts the same, (\d+) of \1 greedy", process.printed)
    assert process.printed.index("it, read by") < process.printed.index("Serving shown, ruled, base, rt, it.")
    assert "every machine" not in process.printed


def test_a_second_server_on_the_port_fails_with_one_sentence(
    process: Process, run_specs: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    port = process.url().rpartition(":")[2]
    assert main(["serve", run_specs["base"], "--port", port, "--dtype", "float32"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"error: Cannot listen on 127.0.0.1, port {port}: address already in use. Choose another --port, or stop the "
        "program that uses it."
    )


def test_a_host_name_that_another_site_points_here_is_refused(process: Process) -> None:
    request = Request(f"{process.url()}/v1/models", headers={"Host": "evil.example"})
    with pytest.raises(OSError, match="400"):
        urlopen(request)
    port = process.url().rpartition(":")[2]
    with urlopen(Request(f"{process.url()}/v1/models", headers={"Host": f"localhost:{port}"})) as response:
        assert response.status == 200


def test_ctrl_c_ends_within_two_seconds_while_responses_are_under_way(process: Process) -> None:
    body = {"model": "rt", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000, "stream": True}
    headers = {"Content-Type": "application/json"}
    request = Request(f"{process.url()}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urlopen(request) as response:
        response.readline()
        assert process.interrupt() < 2
        ending: Any = response.read().decode()
    assert "The server is stopping." in ending
    assert process.process.returncode == 0
    assert process.printed.endswith("stopped\n")
    assert "Traceback" not in process.printed


def test_a_server_that_mixes_up_its_adapters_is_not_started(
    run_specs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    activate = SwitchableModel.activate
    monkeypatch.setattr(SwitchableModel, "activate", lambda model, name: activate(model, name and "run3"))
    runs = tuple(f"{name}={spec}" for name, spec in run_specs.items())
    config = ServeConfig(runs=runs, port=0, dtype="float32", device="cpu", check_prompts=1, check_tokens=4)
    with pytest.raises(UserError, match=r"does not answer as the run does, so it was not started\. it, read by"):
        serve(config)


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["embedded", "runs/quickstart/rt", "runs/quickstart/it"], ["embedded", "rt", "it"]),
        (["runs/a/rt", "runs/b/rt"], ["a/rt", "b/rt"]),
        (["one=runs/a/rt", "runs/b/rt"], ["one", "rt"]),
        (["rt=runs/a/x", "runs/b/x"], ["rt", "x"]),
        (["google/gemma-3-270m"], ["gemma-3-270m"]),
        (["/models/x.gguf"], ["x.gguf"]),
    ],
)
def test_runs_are_called_by_the_end_of_their_path_or_the_name_they_are_given(
    arguments: list[str], names: list[str]
) -> None:
    assert list(named_runs(arguments)) == names


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="Two runs are called 'rt'"):
        named_runs(["rt=a", "rt=b"])
    with pytest.raises(UserError, match="Two runs are called 'rt'"):
        named_runs(["runs/rt", "runs/rt"])


def test_a_folder_whose_name_has_an_equals_sign_is_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1e-4"
    folder.mkdir()
    assert named_runs([str(folder)]) == {"lr=1e-4": str(folder)}


def test_an_address_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"--host no\.such\.host\.invalid: there is no such address"):
        listen("no.such.host.invalid", 0)
