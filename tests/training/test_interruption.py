"""Ctrl-C is held back until a step is complete, and says so at once."""

import os
import signal
import time

import pytest

from response_tuning.training.interruption import held_back_interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_ctrl_c_prints_at_once_what_it_waits_for(
    capfd: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    with held_back_interruption() as interrupted:
        os.kill(os.getpid(), number)
        time.sleep(0.01)  # a step, in which signals are handled
        printed = capfd.readouterr().err
        assert interrupted()
        assert "waiting for the end of this step, to save a checkpoint" in printed
        assert "Press Ctrl-C again to stop now" in printed
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(0.01)


def test_first_ctrl_c_is_held_back_though_nobody_reads_what_it_prints() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with held_back_interruption() as interrupted:
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
