"""What the command line shows, and what it hands on to worker processes."""

import logging
import os
from collections.abc import Iterator

import pytest

from response_tuning.support.progress import progress_bar, say, silence, warn
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
