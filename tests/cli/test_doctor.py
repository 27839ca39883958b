"""``rt doctor``: the machine, what is chosen on it, and what is installed."""

import json
from dataclasses import replace
from importlib.metadata import metadata

import pytest
from rich.console import Console

from response_tuning.cli.doctor import _EXTRAS, doctor_table
from response_tuning.cli.main import main
from response_tuning.models import processor
from response_tuning.models.machine import Machine, describe_machine
from response_tuning.support.packages import Package, extras, required_packages


@pytest.fixture(scope="module")
def machine() -> Machine:
    return describe_machine()


def printed(machine: Machine) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(doctor_table(machine))
    return capture.get()


def test_json_has_every_fact(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    printed_json = json.loads(capsys.readouterr().out)
    assert printed_json.keys() == machine.as_json().keys()
    (default,) = (device for device in printed_json["devices"] if device["is_default"])
    assert default["dtype"] in ("bfloat16", "float32")
    assert default["reason"]
    assert printed_json["cores"] >= 1
    assert 0 < printed_json["available_memory_bytes"] < printed_json["memory_bytes"]


def test_the_table_says_what_was_chosen_and_why(machine: Machine) -> None:
    text = printed(machine)
    cpu = machine.devices[-1]
    assert cpu.device == "cpu"
    assert f"{cpu.dtype}: {cpu.reason}" in text
    assert all(cache.path in text for cache in machine.caches)


def test_what_is_missing_or_too_old_is_marked(machine: Machine) -> None:
    packages = [Package("torch", ">=2.13", "2.1.0", fits=False), Package("numpy", ">=2.4", "2.4.1", fits=True)]
    missing = {"hub": [Package("datasets", ">=5.2", None, fits=False)], "liger": []}
    text = printed(replace(machine, packages=packages, extras=missing))
    assert "! torch>=2.13 (2.1.0)" in text
    assert "! datasets>=5.2 (not installed)" in text
    assert "not for this system" in text
    assert "numpy" not in text


def test_this_installation_has_what_it_requires() -> None:
    assert [package.name for package in required_packages() if not package.fits] == []


def test_every_extra_that_users_install_is_described() -> None:
    ours = set(metadata("response-tuning").get_all("Provides-Extra") or []) - {"development", "benchmark", "docs"}
    assert set(extras()) == ours == set(_EXTRAS)


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: {3}, raising=False)
    assert processor.usable_cores() == 1
