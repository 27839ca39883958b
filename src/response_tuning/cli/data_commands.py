"""The commands of ``rt data``: call, and print the result."""

from rich.console import Console

from response_tuning.cli.command import Command, print_result
from response_tuning.data.data_config import (
    CheckConfig,
    MixRefusalsConfig,
    NonInstructionalConfig,
    PrepareConfig,
    RefineConfig,
    RolesAndRulesConfig,
    SingleTaskConfig,
)
from response_tuning.support.progress import say

__all__ = ["DATA_COMMANDS"]


def _data_prepare(config: PrepareConfig) -> None:
    from response_tuning.data.prepare import prepare

    prepared = prepare(config)
    for row in prepared.dropped:
        say(f"dropped {row}")
    print_result(
        f"{prepared.written:,} examples of {prepared.read:,} rows written to {config.output}, "
        f"{len(prepared.dropped):,} bad rows dropped"
    )
    say(f"Look at them: rt data check {config.output}")


def _data_check(config: CheckConfig) -> None:
    from response_tuning.data.quality.check import check
    from response_tuning.data.quality.report import print_report

    print_report(check(config), Console(highlight=False))


def _data_refine(config: RefineConfig) -> None:
    from response_tuning.asking.ask_once import ledger_path
    from response_tuning.asking.states_table import states_table
    from response_tuning.synthesis.refine import REFINED, refine

    states = refine(config).states
    if states:
        print_result(
            states_table({state if state == REFINED else f"kept: {state}": rows for state, rows in states.items()})
        )
        say(f"Written: {config.output}\nEvery answer: {ledger_path(config.output)}")


def _data_mix_refusals(config: MixRefusalsConfig) -> None:
    from response_tuning.data.refusals import mix_refusals

    mixed = mix_refusals(config)
    print_result(f"{mixed.refusals_kept:,} of {mixed.refusals_read:,} rows of {config.refusals} count as refusals")
    for output, rows in mixed.outputs.items():
        print_result(f"{rows:,} examples written to {output}")


def _data_non_instructional(config: NonInstructionalConfig) -> None:
    from response_tuning.data.recipes.non_instructional import non_instructional

    halved = non_instructional(config)
    print_result(
        f"{halved.written:,} examples of {halved.texts:,} texts written to {config.output}, "
        f"{halved.too_short:,} pieces left out as too short"
    )


def _data_single_task(config: SingleTaskConfig) -> None:
    from response_tuning.data.recipes.single_task import single_task

    print_result(f"{single_task(config):,} examples written to {config.output}")


def _data_roles_and_rules(config: RolesAndRulesConfig) -> None:
    from response_tuning.asking.states_table import states_table
    from response_tuning.synthesis.roles_and_rules import roles_and_rules

    states = roles_and_rules(config).states
    if states:
        print_result(states_table(states))
        say(f"Written: {config.output}")


DATA_COMMANDS = (
    Command("data prepare", PrepareConfig, _data_prepare),
    Command("data check", CheckConfig, _data_check),
    Command("data refine", RefineConfig, _data_refine),
    Command("data mix-refusals", MixRefusalsConfig, _data_mix_refusals),
    Command("data non-instructional", NonInstructionalConfig, _data_non_instructional),
    Command("data single-task", SingleTaskConfig, _data_single_task),
    Command("data roles-and-rules", RolesAndRulesConfig, _data_roles_and_rules),
)
