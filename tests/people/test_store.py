"""The file of votes: each is kept once, through double clicks, kills and restarts."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from response_tuning.people.create_store import create_store
from response_tuning.people.judgements import identical_ties, judgements_of, samples_passed
from response_tuning.people.protocol import PROTOCOLS
from response_tuning.people.store import DATABASE, Store, Vote, open_store
from response_tuning.support.errors import UserError
from tests.people.ratings import GOOD, RUNS, make_rating, vote_all

AT = "2026-01-01T00:00:00.000+00:00"

VOTING = """
import sys
from pathlib import Path
from response_tuning.people.store import Vote, open_store
store = open_store(Path(sys.argv[1]))
for (assignment,) in store.rows("SELECT id FROM assignments ORDER BY rater, position"):
    store.save(assignment, Vote(0, 1, 2, seconds=1.5), at="now")
    print(assignment, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = make_rating(tmp_path)
    yield opened
    opened.close()


def first_screen(store: Store) -> str:
    screen = store.screen(0, 0)
    assert screen is not None
    return screen.id


def count(store: Store, table: str) -> int:
    return int(store.rows(f"SELECT count(*) FROM {table}")[0][0])


def test_the_same_vote_twice_is_one_vote(store: Store) -> None:
    assignment = first_screen(store)
    for _ in range(3):
        store.save(assignment, GOOD, at=AT)
    assert (count(store, "votes"), count(store, "history")) == (1, 0)


def test_the_latest_vote_counts_and_the_earlier_ones_are_kept(store: Store) -> None:
    assignment = first_screen(store)
    store.save(assignment, GOOD, at=AT)
    store.save(assignment, Vote(1, 1, 1, comment="on second thoughts"), at=AT)
    assert (count(store, "votes"), count(store, "history")) == (1, 1)
    screen = store.screen(0, 0)
    assert screen is not None and screen.vote == Vote(1, 1, 1, comment="on second thoughts")


def test_progress_follows_the_planned_order(store: Store) -> None:
    assert store.next_position(0) == 0
    store.save(first_screen(store), GOOD, at=AT)
    assert store.next_position(0) == 1
    assert (store.progress(0).done, store.progress(0).total, store.progress(1).done) == (1, 4, 0)
    vote_all(store)
    assert store.next_position(0) is None
    assert store.screen(0, 4) is None


def test_no_acknowledged_vote_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    make_rating(tmp_path, prompts=300).close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", VOTING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().decode().strip() for _ in range(100)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().decode().split()
    process.wait()
    store = open_store(tmp_path)
    saved = {assignment for (assignment,) in store.rows("SELECT assignment FROM votes")}
    # One more may have been saved and not yet acknowledged.
    assert saved >= set(acknowledged[:100]) and len(saved) - len(acknowledged) in (-1, 0, 1)
    assert store.rows("PRAGMA integrity_check") == [("ok",)]
    assert store.next_position(0) == len(saved)
    store.close()


def test_a_vote_is_synced_before_it_is_acknowledged_and_votes_share_a_sync(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: four votes that arrive during the first one's sync take one more, and none returns before it."""
    from threading import Event, Thread

    syncs: list[int] = []
    slow, free = Event(), Event()
    original = os.fsync

    def recorded(descriptor: int) -> None:
        syncs.append(count(store, "votes"))  # what is committed when it begins
        if len(syncs) == 1:
            slow.set()
            assert free.wait(30)
        original(descriptor)

    monkeypatch.setattr("response_tuning.people.store.os.fsync", recorded)
    assignments = [assignment for (assignment,) in store.rows("SELECT id FROM assignments")][:5]
    threads = [Thread(target=store.save, args=(each, GOOD), kwargs={"at": AT}) for each in assignments]
    threads[0].start()
    assert slow.wait(30)
    for thread in threads[1:]:
        thread.start()
    while count(store, "votes") < 5:
        pass
    assert all(thread.is_alive() for thread in threads)
    free.set()
    for thread in threads:
        thread.join()
    assert syncs == [1, 5]
    store.save(assignments[0], Vote(1, 1, 1), at=AT)
    assert len(syncs) == 3


def test_the_file_is_private_and_exists_only_once_it_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="full"):
        patched.setattr("response_tuning.people.create_store._token", fail)
        make_rating(tmp_path)
    assert not (tmp_path / DATABASE).exists()
    make_rating(tmp_path).close()
    assert stat.S_IMODE((tmp_path / DATABASE).stat().st_mode) == 0o600


def test_tokens_cannot_be_guessed_and_open_one_rating_each(store: Store) -> None:
    tokens = [*store.rater_tokens, store.admin_token]
    assert len(set(tokens)) == 3 and all(len(token) >= 24 for token in tokens)
    assert [store.rater_of(token) for token in tokens] == [0, 1, None]
    assert [store.is_admin(token) for token in tokens] == [False, False, True]
    assert store.rater_of("") is None and store.rater_of("é") is None


def test_flagged_prompts_are_held_from_every_rater_until_released(store: Store) -> None:
    assignment = first_screen(store)
    prompt = store.rows("SELECT prompt FROM assignments WHERE id = ?", assignment)[0][0]
    store.save(assignment, Vote(None, None, None, flagged=True), at=AT, hold=True)
    (position,) = store.rows("SELECT position FROM assignments WHERE prompt = ? AND rater = 1", prompt)[0]
    assert store.screen(1, position) is None
    assert (store.progress(1).total, store.progress(1).held) == (3, 1)
    vote_all(store)
    assert store.next_position(1) is None
    assert store.decide(prompt, "released", at=AT)
    assert store.screen(1, position) is not None
    assert not store.decide(99, "released", at=AT)


def test_withdrawn_prompts_do_not_count(store: Store) -> None:
    store.save(first_screen(store), Vote(None, None, None, flagged=True), at=AT, hold=True)
    vote_all(store)
    assert len(judgements_of(store)) == 8
    ((prompt,),) = store.rows("SELECT prompt FROM holds")
    store.decide(prompt, "withdrawn", at=AT)
    assert len(judgements_of(store)) == 6
    assert str(prompt) not in {each.prompt for each in judgements_of(store)}


def test_prompts_may_be_held_from_the_start(tmp_path: Path) -> None:
    store = make_rating(tmp_path, held=[1, 2])
    assert (store.progress(0).total, store.progress(0).held) == (2, 2)
    store.close()


def test_judgements_name_runs_whatever_side_they_were_on(store: Store) -> None:
    vote_all(store)
    judgements = judgements_of(store)
    assert len(judgements) == 8
    for each in judgements:
        assert each.acceptable == (True, False) and each.wins(each.runs[0]) == 1 and each.wins(each.runs[1]) == 0
        assert set(each.runs) == set(RUNS)
        assert each.lengths == dict.fromkeys(RUNS, len("response 0 of letter x"))


def test_flagged_screens_without_a_rating_are_no_judgement(store: Store) -> None:
    store.save(first_screen(store), Vote(None, None, None, flagged=True), at=AT)
    assert judgements_of(store) == []


def test_identical_responses_are_ties_that_nobody_saw(tmp_path: Path) -> None:
    store = make_rating(tmp_path, responses=[["same", "same "], ["one", "other"]])
    assert [(tie.prompt, tie.left_wins, tie.acceptable) for tie in identical_ties(store)] == [("0", 0.5, ())]
    store.close()


def test_attention_checks_are_counted_and_are_no_judgements(tmp_path: Path) -> None:
    store = make_rating(tmp_path, training=1, checks=4)
    vote_all(store)  # the left one is better: right in two of the four checks
    assert samples_passed(store, "check") == {"rater 1": (2, 4), "rater 2": (2, 4)}
    assert samples_passed(store, "training") == {"rater 1": (1, 1), "rater 2": (1, 1)}
    assert len(judgements_of(store)) == 8
    store.close()


def test_what_is_no_rating_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no rating"):
        open_store(tmp_path)
    (tmp_path / DATABASE).write_text("no database, but text that is long enough to be one" * 100)
    with pytest.raises(UserError, match="is not a rating of this program"):
        open_store(tmp_path)


def test_fifty_thousand_assignments_are_stored(tmp_path: Path) -> None:
    store = make_rating(tmp_path, prompts=500, raters=100)
    assert count(store, "assignments") == 50_000
    assert store.progress(99).total == 500
    store.close()


def test_votes_need_an_assignment(store: Store) -> None:
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.save("nobody's", GOOD, at=AT)


def test_one_response_a_screen_without_a_preference(tmp_path: Path) -> None:
    protocol = PROTOCOLS["an-kim"].model_copy(update={"preference": ()})
    store = create_store(
        tmp_path / DATABASE,
        protocol=protocol,
        runs=["only"],
        prompts=["p"],
        responses=[["r"]],
        assignments=[],
        raters=1,
        settings={},
    )
    assert identical_ties(store) == []
    store.close()
