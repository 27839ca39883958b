"""Ctrl-C ends a command in order, also where a library makes another exception of it."""

import os
import signal
import time

import pytest

from response_tuning.cli import main as main_module
from response_tuning.cli.interrupts import noting_interrupts
from response_tuning.cli.main import main


def interrupted_in_a_library(_line: object) -> int:
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    raise RuntimeError("no bounding box")  # as a callback of C loses the exception before


def test_an_exception_that_ctrl_c_became_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main_module, "_run", interrupted_in_a_library)
    assert main(["doctor"]) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_exception_of_its_own_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_line: object) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(main_module, "_run", fails)
    with pytest.raises(RuntimeError, match="a fault"):
        main(["doctor"])


def test_another_handler_is_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noting_interrupts() as was_interrupted:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert not was_interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
