"""The commands of ``rt study``: plan, run, follow and report a study."""

from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.cli.command import Command, print_result
from response_tuning.study.study_options import (
    ListOptions,
    PlanOptions,
    ReportStudyOptions,
    RunStudyOptions,
    StatusOptions,
)
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say, warn

if TYPE_CHECKING:
    from response_tuning.study.planning.plan import StudyPlan

__all__ = ["STUDY_COMMANDS"]

_FAILED = 1
"""The exit code of a study of which a stage failed."""


def _folder(name: str, output: Path | None) -> Path:
    return output or Path("studies") / name


def _planned(options: PlanOptions | RunStudyOptions) -> "StudyPlan":
    from response_tuning.study.definition.read_study import read_study
    from response_tuning.study.planning.expand import plan_of

    plan = plan_of(read_study(options.study, options.overrides))
    for reason in plan.left_out:
        warn(f"left out: {reason}")
    return plan


def _plan(options: PlanOptions) -> None:
    from response_tuning.study.planning.tables import arms_table
    from response_tuning.study.running.states import states_of

    plan = _planned(options)
    folder = _folder(plan.name, options.output)
    states: dict[str, str] = {key: each.state for key, each in states_of(plan, folder).items()}
    print_result(arms_table(plan, states))
    if options.commands:
        from response_tuning.study.planning.plan import words_in

        for stage in plan.stages.values():
            print(command(*words_in(stage, folder)))
    if not options.quick:
        _forecast(plan, states)


def _forecast(plan: "StudyPlan", states: dict[str, str]) -> None:
    from response_tuning.study.planning.estimate import forecast_table, forecast_trainings, judge_requests

    for name, count in judge_requests(plan, states).items():
        print_result(f"judge: about {count:,} requests for {name}; rt eval {name} --dry-run forecasts their cost")
    if any(stage.training and states[key] != "done" for key, stage in plan.stages.items()):
        say("Measuring how fast this machine trains (--quick leaves this out).")
        print_result(forecast_table([*forecast_trainings(plan, states)]))


def _run(options: RunStudyOptions) -> None:
    from response_tuning.study.reporting.report import write_study_report
    from response_tuning.study.running.registry import make_executor
    from response_tuning.study.running.run_study import run_study

    plan = _planned(options)
    folder = _folder(plan.name, options.output)
    executor = make_executor(options.model_copy(update={"output": folder}))
    outcome = run_study(plan, folder, executor, memory_bytes=int(options.memory_gb * 1e9))
    page = write_study_report(folder)
    print_result(f"{outcome.done} of {len(plan.stages)} stages done, {len(outcome.failed)} failed. Report: {page}")
    if outcome.failed:
        for name, log in outcome.failed.items():
            warn(f"failed: {name} (log: {log})")
        if outcome.blocked:
            warn(f"{outcome.blocked} stages were not started, since one that they need has failed.")
        raise SystemExit(_FAILED)


def _status(options: StatusOptions) -> None:
    from response_tuning.study.running.status import print_status

    print_status(options.folder, print_result)


def _report(options: ReportStudyOptions) -> None:
    from response_tuning.study.reporting.report import write_study_report

    say(f"Report: {write_study_report(options.folder, options.output)}")


def _list(options: ListOptions) -> None:
    from response_tuning.study.definition.packaged import packaged_studies, packaged_text
    from response_tuning.study.listing import listed

    if options.study is None:
        print_result(listed())
    elif options.study in packaged_studies():
        print(packaged_text(options.study), end="")
    else:
        raise UserError(f"There is no study {options.study!r}. There are {', '.join(packaged_studies())}.")


STUDY_COMMANDS = (
    Command("study plan", PlanOptions, _plan),
    Command("study run", RunStudyOptions, _run),
    Command("study status", StatusOptions, _status),
    Command("study report", ReportStudyOptions, _report),
    Command("study list", ListOptions, _list),
)
