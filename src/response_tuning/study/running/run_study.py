"""Run a study: submit every stage that is not done, and wait until all have ended."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from response_tuning.study.planning.plan import PLAN_FILE, Stage, StudyPlan, words_in
from response_tuning.study.running.contract import Ended, Executor, Job, JobFuture
from response_tuning.study.running.records import log_path, read_record, write_record
from response_tuning.study.running.states import LOCK, StageProgress, states_of
from response_tuning.support.errors import UserError
from response_tuning.support.files import make_folder, write_text
from response_tuning.support.platforms import lock
from response_tuning.support.progress import Bar, progress_bar, say, warn
from response_tuning.training.interruption import held_back_interruption

__all__ = ["Outcome", "job_of", "run_study"]


@dataclass(frozen=True)
class Outcome:
    """What became of a study."""

    done: int
    """Stages whose result is there, those of earlier calls included."""
    failed: dict[str, Path] = field(default_factory=dict)
    """By the name of the stage, its log."""
    blocked: int = 0
    """Stages that were not started, since one that they need has failed."""


def run_study(plan: StudyPlan, folder: Path, executor: Executor, *, memory_bytes: int = 0) -> Outcome:
    """Run what is not done. Re-run to resume: finished stages are skipped, interrupted ones are resumed.

    Args:
        plan: the study.
        folder: its folder, which is made.
        executor: where commands run; it is closed at the end.
        memory_bytes: of each command; 0 where that is not known.

    Raises:
        UserError: somebody else runs a study in this folder, or it holds something else.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once what was at work has stopped.
    """
    try:
        with _claimed(folder, plan):
            states = states_of(plan, folder)
            futures = _submit(plan, folder, states, executor, memory_bytes)
            done = len(plan.stages) - len(futures)
            if done:
                say(f"{done} of {len(plan.stages)} stages are done already.")
            return _wait(plan, folder, futures, executor, done)
    finally:
        executor.close()


@contextmanager
def _claimed(folder: Path, plan: StudyPlan) -> Iterator[None]:
    """Make the folder, hold its lock, and save the plan there."""
    if folder.exists() and any(folder.iterdir()) and not (folder / PLAN_FILE).exists() and not (folder / LOCK).exists():
        raise UserError(f"{folder} exists and holds something else. Choose another --output.")
    make_folder(folder)
    with (folder / LOCK).open("w") as file:
        if not lock(file, wait=False):
            raise UserError(f"{folder} is run by another process now. Wait for it, or stop it.")
        write_text(folder / PLAN_FILE, plan.model_dump_json(indent=1) + "\n")
        yield


def job_of(stage: Stage, folder: Path) -> Job:
    """A stage as a command with its places."""
    return Job(
        key=stage.key,
        words=tuple(words_in(stage, folder)),
        folder=str(folder.absolute()),
        name=stage.name,
        proofs=tuple(stage.proof),
        working_directory=str(Path.cwd()),
    )


def _submit(
    plan: StudyPlan, folder: Path, states: dict[str, StageProgress], executor: Executor, memory_bytes: int
) -> dict[str, JobFuture]:
    """Submit every stage that is not done, cell by cell, so that the first cells are whole early."""
    order = dict.fromkeys([*(key for cell in plan.cells for key in cell.stages), *plan.stages])
    futures: dict[str, JobFuture] = {}
    for key in order:
        stage = plan.stages[key]
        if states[key].state != "done":
            after = [futures[needed] for needed in stage.needs if needed in futures]
            futures[key] = executor.submit(
                job_of(stage, folder), gpus=stage.gpus, memory_bytes=memory_bytes, after=after
            )
    return futures


def _wait(plan: StudyPlan, folder: Path, futures: dict[str, JobFuture], executor: Executor, done: int) -> Outcome:
    pending = dict(futures)
    ended: dict[str, Ended] = {}
    was_asked = False
    with held_back_interruption() as is_asked, progress_bar("stages", len(plan.stages), done=done) as bar:
        try:
            while pending:
                if is_asked() and not was_asked:
                    was_asked = True
                    executor.interrupt()
                finished = [key for key, future in pending.items() if future.done()]
                for key in finished:
                    ended[key] = pending.pop(key).result()
                    _report(plan.stages[key], ended[key], folder, bar)
                if not finished:
                    time.sleep(executor.poll_seconds)
        except KeyboardInterrupt:  # Ctrl-C again
            executor.kill()
            raise
    if was_asked:
        raise KeyboardInterrupt
    return _outcome(plan, ended, folder, done)


def _report(stage: Stage, ended: Ended, folder: Path, bar: Bar) -> None:
    if ended.exit_code is None:
        bar.advance()
        return
    if ended.succeeded:
        bar.advance()
        say(f"{stage.name}: {ended.seconds:,.1f} s")
        return
    record = read_record(folder, stage.key)
    if record is not None and record.state == "running":  # whoever ran it could not record how it ended
        update = {"state": "failed", "exit_code": ended.exit_code, "reason": ended.reason}
        write_record(folder, record.model_copy(update=update))
    if record is not None and record.state != "interrupted":
        bar.advance()
        reason = ended.reason or f"exit code {ended.exit_code}"
        warn(f"{stage.name} failed ({reason}): {_last_line(log_path(folder, stage.name))}")


def _last_line(log: Path) -> str:
    """The end of a log, which says what was wrong, and where the log is."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    said = next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "")
    return f"{said} (log: {log})"


def _outcome(plan: StudyPlan, ended: dict[str, Ended], folder: Path, done: int) -> Outcome:
    failed = [plan.stages[key].name for key, each in ended.items() if not each.succeeded and each.exit_code is not None]
    return Outcome(
        done=done + sum(each.succeeded for each in ended.values()),
        failed={name: log_path(folder, name) for name in failed},
        blocked=sum(each.exit_code is None for each in ended.values()),
    )
