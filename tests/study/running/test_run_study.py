"""Running a study: what is done is never done again, and what fails leaves the rest standing."""

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import yaml

from response_tuning.example import Example, write_examples
from response_tuning.study.definition.read_study import Overrides, read_study
from response_tuning.study.planning.expand import plan_of
from response_tuning.study.planning.plan import StudyPlan
from response_tuning.study.reporting.report import write_study_report
from response_tuning.study.running.contract import Ended, Job, JobFuture
from response_tuning.study.running.local import LocalExecutor
from response_tuning.study.running.records import Record, log_path, read_record, write_record
from response_tuning.study.running.run_job import Attempt, run_job
from response_tuning.study.running.run_study import run_study
from response_tuning.study.running.states import cell_states, states_of
from response_tuning.study.running.status import print_status, seconds_left
from response_tuning.support.errors import UserError
from tests.study.executing import AtOnce


@pytest.fixture
def values(tmp_path: Path, model_folder: Path, examples: list[Example]) -> dict[str, object]:
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held_out.jsonl"
    write_examples(train, examples[:12])
    write_examples(held_out, examples[12:20])
    return {
        "question": "Does it run?",
        "axes": {"model": str(model_folder), "data": str(train), "method": ["base", "rt", "it"]},
        "seeds": [0],
        "training": {"epochs": 1, "dtype": "float32"},
        "evaluations": {"probe": {"data": str(held_out), "max_new_tokens": 4, "dtype": "float32"}},
    }


def planned(tmp_path: Path, values: dict[str, object]) -> StudyPlan:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return plan_of(read_study(str(path), Overrides()))


def test_a_study_runs_once_and_what_is_added_runs_alone(tmp_path: Path, values: dict[str, object]) -> None:
    folder, first = tmp_path / "study", AtOnce()
    plan = planned(tmp_path, values)
    outcome = run_study(plan, folder, first)
    assert (outcome.done, outcome.failed) == (5, {})
    assert len(first.submitted) == 5
    page = write_study_report(folder).read_text()

    again = AtOnce()
    assert run_study(plan, folder, again).done == 5
    assert again.submitted == []
    assert write_study_report(folder).read_text() == page  # the same report, byte for byte

    values["seeds"] = [0, 1]
    added = AtOnce()
    more = planned(tmp_path, values)
    assert run_study(more, folder, added).done == 9
    assert all("seed1" in name for name in added.submitted) and len(added.submitted) == 4
    report = write_study_report(folder)
    assert "2 seeds" in report.read_text()
    for suffix in ("svg", "png"):
        assert (report.parent / "figures" / f"means-probe.{suffix}").stat().st_size > 1_000
    assert (report.parent / "tables" / "differences.csv").read_text().startswith("evaluation,metric,arm,baseline")
    assert r"\toprule" in (report.parent / "tables" / "probe.tex").read_text()

    values["seeds"] = 0
    run_study(planned(tmp_path, values), folder, AtOnce())
    assert write_study_report(folder).read_text() == page  # the removed seed is gone from the report

    lines: list[object] = []
    print_status(folder, lines.append)
    assert lines[1] == "cells: 3 done"


def test_a_failed_cell_is_named_with_its_log_and_the_others_stand(tmp_path: Path, values: dict[str, object]) -> None:
    pairs = Path(str(values["axes"]["data"]))  # type: ignore[index]
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    pairs.write_text("".join(json.dumps({"completion": row["completion"]}) + "\n" for row in rows))
    folder = tmp_path / "study"
    plan = planned(tmp_path, values)
    outcome = run_study(plan, folder, AtOnce())
    (name,) = outcome.failed
    assert name.startswith("runs/it-") and outcome.done == 3 and outcome.blocked == 1
    assert "rows have no prompt" in outcome.failed[name].read_text()
    states = states_of(plan, folder)
    assert cell_states(plan, states) == {"done": 2, "failed": 1}
    assert "Unfinished: 2 of 3 evaluations" in write_study_report(folder).read_text()
    again = AtOnce()
    run_study(plan, folder, again)
    assert again.submitted == [name]  # only what failed, and nothing that needs it


def test_a_folder_with_something_else_and_a_running_study_are_refused(
    tmp_path: Path, values: dict[str, object]
) -> None:
    plan = planned(tmp_path, values)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        run_study(plan, tmp_path / "mine", AtOnce())

    refused: list[str] = []

    class RunsItAgain(AtOnce):
        def submit(self, job: Job, **needs: Any) -> JobFuture:
            assert job.key and needs
            if not refused:
                with pytest.raises(UserError) as error:
                    run_study(plan, tmp_path / "study", AtOnce())
                refused.append(str(error.value))
            return _failed()

    run_study(plan, tmp_path / "study", RunsItAgain())
    assert "is run by another process now" in refused[0]


def _failed() -> JobFuture:
    future: Future[Ended] = Future()
    future.set_result(Ended(exit_code=None, reason="not started"))
    return future


def job(tmp_path: Path, *words: str, proof: str = "out.jsonl") -> Job:
    return Job(
        key="k" * 16,
        words=words,
        folder=str(tmp_path),
        name="data/out",
        proofs=(proof,),
        working_directory=str(tmp_path),
    )


def test_a_command_that_ends_without_its_result_has_failed(tmp_path: Path) -> None:
    ended = run_job(job(tmp_path, "anything"), lambda *_: Attempt(0))
    assert not ended.succeeded and ended.reason == "it ended without its result, out.jsonl"
    assert ended.exit_code == 0
    record = read_record(tmp_path, "k" * 16)
    assert record is not None and record.state == "failed"
    killed = run_job(job(tmp_path, "anything"), lambda *_: Attempt(-9))
    assert "memory runs out" in killed.reason
    again = read_record(tmp_path, "k" * 16)
    assert again is not None and again.attempts == 2


def test_what_was_at_work_when_its_starter_was_killed_is_to_do(tmp_path: Path, values: dict[str, object]) -> None:
    plan = planned(tmp_path, values)
    key = next(iter(plan.stages))
    write_record(tmp_path, Record(key=key, name="x", state="running"))
    assert states_of(plan, tmp_path)[key].state == "to do"
    assert states_of(plan, tmp_path, is_running=True)[key].state == "running"
    assert seconds_left(plan, states_of(plan, tmp_path)) is None


def test_the_local_executor_runs_commands_in_order_and_stops_where_one_fails(
    tmp_path: Path, examples: list[Example]
) -> None:
    """In processes of their own; the first one ends by an error of the user's."""
    write_examples(tmp_path / "in.jsonl", examples[:4])
    executor = LocalExecutor(devices=())

    def submit(key: str, source: str, *after: object):  # type: ignore[no-untyped-def]
        words = ("data", "prepare", source, "--output", f"{tmp_path}/{key}.jsonl")
        one = Job(
            key=key,
            words=words,
            folder=str(tmp_path),
            name=key,
            proofs=(f"{key}.jsonl",),
            working_directory=str(tmp_path),
        )
        return executor.submit(one, gpus=1, memory_bytes=0, after=after)  # type: ignore[arg-type]

    good = submit("good", "in.jsonl")
    bad = submit("bad", "missing.jsonl")
    blocked = submit("blocked", f"{tmp_path}/bad.jsonl", bad)
    follows = submit("follows", f"{tmp_path}/good.jsonl", good)
    assert follows.result().succeeded and good.result().succeeded
    assert bad.result().exit_code == 2
    assert blocked.result() == Ended(exit_code=None, reason="what it needs has failed")
    executor.close()
    assert "missing.jsonl" in log_path(tmp_path, "bad").read_text()
    record = read_record(tmp_path, "follows")
    assert record is not None and record.peak_memory_bytes > 0
