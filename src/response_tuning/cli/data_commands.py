"""The commands of ``rt data``: call, and print the result."""

from inspect import cleandoc
from typing import Any

from pydantic import BaseModel, create_model
from rich.console import Console

from response_tuning.asking.ask_once import ledger_path
from response_tuning.asking.states_table import states_table
from response_tuning.cli.command import Command, print_result
from response_tuning.data.mix_refusals import MixRefusalsConfig, mix_refusals
from response_tuning.data.prepare import PrepareConfig, prepare
from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.data.recipes.recipe import Recipe, run_recipe
from response_tuning.data.recipes.recipe_registry import recipes
from response_tuning.data.sources.source_registry import sources
from response_tuning.support.commands import command
from response_tuning.support.progress import say, warn
from response_tuning.synthesis.feedback.feedback import make_feedback
from response_tuning.synthesis.feedback.feedback_config import FeedbackConfig
from response_tuning.synthesis.refine import REFINED, RefineConfig, refine

__all__ = ["DATA_COMMANDS"]


def _data_prepare(config: PrepareConfig) -> None:
    prepared = prepare(config)
    for row in prepared.dropped:
        warn(f"dropped {row}")
    print_result(
        f"{prepared.written:,} examples of {prepared.read:,} rows written to {config.output}, "
        f"{len(prepared.dropped):,} bad rows dropped"
    )
    say(f"Check them: {command('data', 'check', config.output)}")


def _data_check(config: CheckConfig) -> None:
    from response_tuning.data.quality.check import check
    from response_tuning.data.quality.quality_report import print_report
    from response_tuning.evaluation.checks.checked_rows import checks_problem

    report = check(config, validators={"bad-checks": checks_problem})
    print_report(report, Console(highlight=False, markup=False, emoji=False))


def _data_refine(config: RefineConfig) -> None:
    states = refine(config).states
    if states:
        print_result(
            states_table({state if state == REFINED else f"kept: {state}": rows for state, rows in states.items()})
        )
        say(f"Written: {config.output}\nEvery answer: {ledger_path(config.output)}")


def _data_mix_refusals(config: MixRefusalsConfig) -> None:
    mixed = mix_refusals(config)
    print_result(f"{mixed.refusals_kept:,} of {mixed.refusals_read:,} rows of {config.refusals} count as refusals")
    for output, rows in mixed.outputs.items():
        print_result(f"{rows:,} examples written to {output}")


def _data_feedback(config: FeedbackConfig) -> None:
    made = make_feedback(config)
    if made is None:
        return
    if made.labelled:
        from response_tuning.evaluation.agreement.label_agreement import label_table

        print_result(label_table(made.labelled, unreadable=made.unreadable_labels))
    print_result(states_table(made.states))
    print_result(f"{made.pairs:,} pairs written to {config.output}")
    if config.responses is not None:
        print_result(f"{made.responses:,} preferred responses written to {config.responses}")
    say(f"Every answer: {ledger_path(config.output)}")


def _recipe_command(recipe: Recipe) -> Command:
    def run(config: Any) -> None:
        made = run_recipe(recipe, config)
        if made is None:
            return
        if made.states:
            print_result(states_table(made.states))
        print_result(f"{len(made.examples):,} examples written to {config.output}")

    return Command(f"data {recipe.name}", recipe.config, run)


def _with_sources(config: type[BaseModel]) -> type[BaseModel]:
    """The options with a help that lists every source."""
    summary, _, rest = cleandoc(config.__doc__ or "").partition("\n\n")
    listed = ";\n".join(source.help for source in sources())
    return create_model(config.__name__, __base__=config, __doc__=f"{summary}\n\nSOURCE is {listed}.\n\n{rest}")


DATA_COMMANDS = (
    Command("data prepare", _with_sources(PrepareConfig), _data_prepare),
    Command("data check", CheckConfig, _data_check),
    Command("data refine", RefineConfig, _data_refine),
    Command("data feedback", FeedbackConfig, _data_feedback),
    Command("data mix-refusals", MixRefusalsConfig, _data_mix_refusals),
    *map(_recipe_command, recipes()),
)
