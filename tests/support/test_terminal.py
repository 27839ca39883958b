"""What the command line shows, and what it hands on to worker processes."""

import logging
import os
import re
from collections.abc import Iterator
from itertools import count

import pytest

from response_tuning.support import progress
from response_tuning.support.progress import progress_bar, say, silence, stderr_console, warn
from response_tuning.support.terminal import Verbosity, set_up_terminal


@pytest.fixture(autouse=True)
def normal_again() -> Iterator[None]:
    yield
    logging.getLogger().setLevel(logging.WARNING)
    set_up_terminal("normal")


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines and bars of a stage that also warns, and of a library."""
    capsys.readouterr()
    say("loading [a] model")
    warn("one row is long")
    logging.getLogger("some_library").info("downloading")
    with progress_bar("answering", 2) as bar:
        bar.advance(2)
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("verbosity", "lines", "has_bar"),
    [
        ("quiet", ["one row is long"], False),
        ("normal", ["loading [a] model", "one row is long"], True),
        ("verbose", ["loading [a] model", "one row is long", "some_library: downloading"], True),
    ],
)
def test_each_verbosity_shows_more(
    capsys: pytest.CaptureFixture[str], verbosity: Verbosity, lines: list[str], has_bar: bool
) -> None:
    set_up_terminal(verbosity)
    printed = shown(capsys)
    assert printed[: len(lines)] == lines
    assert any("answering" in line for line in printed) == has_bar


class TestALogThatIsAFile:
    """Lines with the count, the note and the time left instead of a bar, and no control character."""

    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second passes between two looks at the clock."""
        seconds = count()
        monkeypatch.setattr(progress, "monotonic", lambda: float(next(seconds)))

    def lines(self, capsys: pytest.CaptureFixture[str]) -> list[str]:
        capsys.readouterr()
        with progress_bar("training rt", 500, done=100) as bar:
            for step in range(70):
                bar.advance(note=f"loss {1 / (step + 1):.3f}")
        return capsys.readouterr().err.splitlines()

    def test_a_line_every_thirty_seconds_has_step_loss_and_time_left(self, capsys: pytest.CaptureFixture[str]) -> None:
        first, second, last = self.lines(capsys)
        assert first == "training rt: 130 of 500, loss 0.033, 0:00:31 elapsed, 0:06:22 left"
        assert second == "training rt: 160 of 500, loss 0.017, 0:01:02 elapsed, 0:05:51 left"
        assert last.startswith("training rt: 170 of 500, loss 0.014, ")

    @pytest.mark.parametrize("variable", ["FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"])
    def test_no_variable_brings_control_characters_into_it(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
    ) -> None:
        monkeypatch.setenv(variable, "1")
        stderr_console.cache_clear()
        warn("a \x1b[31mred\x1b[0m\rmodel")
        printed = capsys.readouterr().err + "".join(self.lines(capsys))
        stderr_console.cache_clear()
        assert "model" in printed
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", printed)

    def test_it_holds_no_secret(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_PASSWD", "hunter2hunter2")
        warn("refused: hunter2hunter2 at https://me:word@host/v1")
        assert capsys.readouterr().err == "refused: [DB_PASSWD] at https://host/v1\n"

    def test_a_stage_that_fails_leaves_how_far_it_came(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(KeyboardInterrupt), progress_bar("asking", 9) as bar:
            bar.advance(4)
            raise KeyboardInterrupt
        assert capsys.readouterr().err.startswith("asking: 4 of 9, ")


def test_a_worker_has_the_verbosity_of_the_command_that_started_it(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_terminal("quiet")
    assert os.environ["RESPONSE_TUNING_VERBOSITY"] == "quiet"
    set_up_terminal()
    assert shown(capsys) == ["one row is long"]


def test_a_silent_rank_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silence(True)
    try:
        assert shown(capsys) == []
    finally:
        silence(False)


def test_nothing_is_printed_twice_after_a_second_command(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity in ("verbose", "normal", "normal"):
        set_up_terminal(verbosity)
    assert [line for line in shown(capsys) if "loading" in line] == ["loading [a] model"]
