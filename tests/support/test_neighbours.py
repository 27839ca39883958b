"""Threads, how they wait, and priority."""

import os
import subprocess
import sys

import pytest
import torch

from response_tuning.cli.main import main
from response_tuning.support import neighbours
from response_tuning.support.errors import UserError
from response_tuning.support.neighbours import set_up_threads, yield_to_others

_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without any variable of OpenMP; restored afterwards."""
    for name in _VARIABLES:
        monkeypatch.setenv(name, "")  # so that what the test sets is undone
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "7")])
def test_what_the_user_decided_about_waiting_stays(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    set_up_threads(None)
    assert {key: os.environ[key] for key in _VARIABLES if key in os.environ} == {name: value}


def test_waiting_threads_sleep_soon_by_default(environment: pytest.MonkeyPatch) -> None:
    assert environment
    set_up_threads(None)
    assert int(os.environ["GOMP_SPINCOUNT"]) < 300_000
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("threads", ["0", "-1", "two", "", "1.5", "\N{SUPERSCRIPT TWO}"])
def test_threads_are_a_number_from_one(environment: pytest.MonkeyPatch, threads: str) -> None:
    assert environment
    with pytest.raises(UserError, match="--threads"):
        set_up_threads(threads)


def test_threads_are_set_where_torch_is_loaded_already(environment: pytest.MonkeyPatch) -> None:
    assert environment
    before = torch.get_num_threads()
    try:
        set_up_threads("3")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_threads_reach_torch_in_a_new_process_of_any_command(environment: pytest.MonkeyPatch) -> None:
    """Typed before or after the command."""
    assert environment
    code = (
        "import sys; from response_tuning.cli import main as m; m.main(['doctor', '--threads=1', '--json'])"
        "; import torch; assert torch.get_num_threads() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))


@pytest.mark.parametrize("arguments", [["--threads", "none", "doctor"], ["doctor", "--threads", "1", "--threads=2"]])
def test_a_wrong_number_is_one_message(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "--threads" in capsys.readouterr().err


@pytest.mark.parametrize(("battery", "niceness", "expected"), [(True, 0, [0, 5]), (False, 0, [0]), (True, 10, [0])])
def test_only_a_machine_with_a_battery_lowers_its_priority_once(
    monkeypatch: pytest.MonkeyPatch, battery: bool, niceness: int, expected: list[int]
) -> None:
    asked: list[int] = []

    def nice(by: int) -> int:
        asked.append(by)
        return niceness

    monkeypatch.setattr(os, "nice", nice)
    monkeypatch.setattr(neighbours, "_has_battery", lambda: battery)
    yield_to_others()
    assert asked == expected
