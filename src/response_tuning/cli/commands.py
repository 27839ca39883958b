"""What each command does: call, and print what came out. Model libraries are loaded in the command that needs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, create_model
from rich.console import Console

from response_tuning.data.data_config import (
    CheckConfig,
    MixRefusalsConfig,
    NonInstructionalConfig,
    PrepareConfig,
    RefineConfig,
    RolesAndRulesConfig,
    SingleTaskConfig,
)
from response_tuning.evaluation.evaluation_config import (
    AgreementConfig,
    AlpacaConfig,
    CompareConfig,
    CoreConfig,
    EverythingConfig,
    IfevalConfig,
    JudgeOptions,
    JustConfig,
    ProbeConfig,
    RefusalsConfig,
    SelectiveConfig,
)
from response_tuning.export.export_config import ExportConfig
from response_tuning.serving.chat import ChatConfig, chat
from response_tuning.study.study_config import QuickstartConfig
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.training_config import TrainingConfig

__all__ = ["COMMANDS", "GROUPS", "Command"]


def _quickstart(config: QuickstartConfig) -> None:
    from response_tuning.evaluation.shared.table import metrics_table
    from response_tuning.study.quickstart import quickstart

    results = quickstart(config)
    _print(metrics_table({name: result.metrics for name, result in results.items()}))
    say(f"The report: {config.output / 'report.html'}\nTalk with it: rt chat {config.output / 'rt'}")


def _train(config: TrainingConfig) -> None:
    if config.plan:
        from response_tuning.training.planning.plan import make_plan
        from response_tuning.training.planning.plan_table import plan_table

        _print(plan_table(make_plan(config)))
        return
    if config.nodes > 1:
        from response_tuning.training.parallel.launch import node_commands

        for command in node_commands(config):
            print(command)
        say("One command for each machine; this one is the first. All need the same data and a run folder they share.")
        return
    from response_tuning.training.trainer import train

    run = train(config)
    say(f"Trained: {run.path}\nMeasure it: rt probe {run.path}\nTalk with it: rt chat {run.path}")


def _probe(config: ProbeConfig) -> None:
    from response_tuning.evaluation.probe.probe import compare_formats, probe
    from response_tuning.evaluation.shared.table import metrics_table

    if config.formats:
        comparison = compare_formats(config)
        _print(metrics_table(comparison.metrics))
        _print(f"{config.model} answers best under --format {comparison.best}")
    elif config.checkpoints:
        from response_tuning.evaluation.probe.checkpoints import probe_checkpoints

        _print(metrics_table({f"step {point.step}": point.metrics for point in probe_checkpoints(config)}))
    else:
        _print(metrics_table({config.model: probe(config).metrics}))


def _data_prepare(config: PrepareConfig) -> None:
    from response_tuning.data.prepare import prepare

    prepared = prepare(config)
    for row in prepared.dropped:
        say(f"dropped {row}")
    _print(
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
        _print(states_table({state if state == REFINED else f"kept: {state}": rows for state, rows in states.items()}))
        say(f"Written: {config.output}\nEvery answer: {ledger_path(config.output)}")


def _data_mix_refusals(config: MixRefusalsConfig) -> None:
    from response_tuning.data.refusals import mix_refusals

    mixed = mix_refusals(config)
    _print(f"{mixed.refusals_kept:,} of {mixed.refusals_read:,} rows of {config.refusals} count as refusals")
    for output, rows in mixed.outputs.items():
        _print(f"{rows:,} examples written to {output}")


def _data_non_instructional(config: NonInstructionalConfig) -> None:
    from response_tuning.data.recipes.non_instructional import non_instructional

    halved = non_instructional(config)
    _print(
        f"{halved.written:,} examples of {halved.texts:,} texts written to {config.output}, "
        f"{halved.too_short:,} pieces left out as too short"
    )


def _data_single_task(config: SingleTaskConfig) -> None:
    from response_tuning.data.recipes.single_task import single_task

    _print(f"{single_task(config):,} examples written to {config.output}")


def _data_roles_and_rules(config: RolesAndRulesConfig) -> None:
    from response_tuning.asking.states_table import states_table
    from response_tuning.synthesis.roles_and_rules import roles_and_rules

    states = roles_and_rules(config).states
    if states:
        _print(states_table(states))
        say(f"Written: {config.output}")


def _eval_core(config: CoreConfig) -> None:
    from response_tuning.evaluation.capabilities.capabilities import evaluate_core
    from response_tuning.evaluation.shared.table import metrics_columns

    _print(metrics_columns({config.model: evaluate_core(config).summary(config.tasks)}))


def _eval_ifeval(config: IfevalConfig) -> None:
    from response_tuning.evaluation.ifeval.ifeval import evaluate_ifeval
    from response_tuning.evaluation.shared.table import metrics_columns

    _print(metrics_columns({config.model: evaluate_ifeval(config).metrics}))


def _eval_refusals(config: RefusalsConfig) -> None:
    from response_tuning.evaluation.refusals.refusals import evaluate_refusals
    from response_tuning.evaluation.shared.table import refusals_table

    result = evaluate_refusals(config)
    if result is not None:
        _print(refusals_table(config.model, result))


def _eval_alpaca(config: AlpacaConfig) -> None:
    from response_tuning.evaluation.alpaca.alpaca_eval import evaluate_alpaca
    from response_tuning.evaluation.shared.table import alpaca_table

    result = evaluate_alpaca(config)
    if result is not None:
        _print(alpaca_table(config.model, config.reference, result))


def _eval_just(config: JustConfig) -> None:
    from response_tuning.evaluation.just.just_eval import evaluate_just
    from response_tuning.evaluation.shared.table import just_table

    result = evaluate_just(config)
    if result is not None:
        _print(just_table(config.model, result))


def _eval_selective(config: SelectiveConfig) -> None:
    from response_tuning.evaluation.selective.selective import evaluate_selective
    from response_tuning.evaluation.selective.selective_table import selective_table

    result = evaluate_selective(config)
    if result is not None:
        _print(selective_table(config.model, result))


def _compare(config: CompareConfig) -> None:
    from response_tuning.evaluation.compare.compare import compare
    from response_tuning.evaluation.compare.compare_table import comparison_table

    comparison = compare(config)
    for task in comparison.tasks:
        _print(comparison_table(comparison, task))
    for task, lacking in comparison.missing.items():
        _print(f"not compared: {task}, which {' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'}")


def _eval_agreement(config: AgreementConfig) -> None:
    from response_tuning.evaluation.agreement.agreement import agreement_table, verdict_agreement

    for result in verdict_agreement(config):
        _print(agreement_table(result))


def _eval_all(config: EverythingConfig) -> None:
    """Every evaluation; those that cannot run are named at the end, and make it an error."""
    sampled = {"model": config.model, "max_examples": config.max_examples}
    offline = {"offline": config.offline}
    judged = {name: getattr(config, name) for name in JudgeOptions.model_fields}
    tasks: dict[str, Callable[[], None]] = {
        "probe": lambda: _probe(ProbeConfig.model_validate(sampled)),
        "ifeval": lambda: _eval_ifeval(IfevalConfig.model_validate({**sampled, **offline})),
        "core": lambda: _eval_core(CoreConfig.model_validate({**sampled, "data_dir": config.data_dir})),
        "refusals": lambda: _eval_refusals(RefusalsConfig.model_validate({**sampled, **offline, **judged})),
    }
    confidence = ("likelihood", "self", *(["judge"] if config.judge is not None else []))
    tasks["selective"] = lambda: _eval_selective(
        SelectiveConfig.model_validate({**sampled, **offline, **judged, "confidence": confidence})
    )
    if config.judge is not None:
        tasks["alpaca"] = lambda: _eval_alpaca(AlpacaConfig.model_validate({**sampled, **offline, **judged}))
        tasks["just"] = lambda: _eval_just(JustConfig.model_validate({**sampled, **offline, **judged}))
    failed: list[str] = []
    for name, run in tasks.items():
        say(f"{config.model}: {name}")
        try:
            run()
        except UserError as error:
            say(f"{name} could not run: {error}")
            failed.append(name)
    if failed:
        raise UserError(f"{config.model}: {', '.join(failed)} could not run; the reasons stand above.")


def _export(config: ExportConfig) -> None:
    from response_tuning.export.export import export

    exported = export(config)
    for proof in exported.proofs:
        _print(
            f"{proof.file} ({proof.engine}): {proof.same_prompt_ids} of {proof.prompts} prompts have the run's ids, "
            f"{proof.same_tokens} of {proof.tokens} greedy tokens are the run's own and {proof.near_ties} near-ties"
        )
    say(f"Exported: {exported.path}" + (f"\nPushed: {exported.address}" if exported.address else ""))


def _print(result: object) -> None:
    Console(highlight=False).print(result)


@dataclass(frozen=True)
class Command:
    """One command of the program."""

    name: str
    """What is typed: ``train``, or ``data prepare`` for a command of a group."""
    config: type[BaseModel]
    """Its options."""
    run: Callable[[Any], None]


class _DataGroup(BaseModel):
    """Prepare, check and shape training data; rt data COMMAND --help says how."""


class _EvalGroup(BaseModel):
    """Measure models, with a judge and without; rt eval COMMAND --help says how."""


GROUPS: dict[str, type[BaseModel]] = {"data": _DataGroup, "eval": _EvalGroup}
"""The first words of commands that have two, with what the help says of them."""


def _for_each_model(name: str, config: type[BaseModel], run: Callable[[Any], None]) -> Command:
    """A command that takes several models, and runs for one after the other."""

    def run_each(values: Any) -> None:
        if not values.model:
            raise UserError(f"Name at least one model: rt {name} RUN [RUN ...]")
        named = [option for option in ("output", "plot") if getattr(values, option, None) is not None]
        if len(values.model) > 1 and named:
            raise UserError(f"--{named[0]} has room for one model. Leave it out for several, or name one at a time.")
        for model in values.model:
            run(config.model_validate({**values.model_dump(), "model": model}))

    described = tyro.conf.arg(
        name="models",
        metavar="RUN [RUN ...]",
        help=_MODELS if "base_url" not in config.model_fields else _MODELS_OR_SERVED,
        help_behavior_hint="(one or more)",
    )
    models = Annotated[tuple[str, ...], tyro.conf.Positional, described]
    several = create_model(config.__name__, __base__=config, __doc__=config.__doc__, model=(models, ...))
    return Command(name, several, run_each)


_MODELS = "Runs, or any other models: 'embedded', folders, .gguf files, hub ids; one after the other."
_MODELS_OR_SERVED = (
    "Runs, or any other models: 'embedded', folders, .gguf files; or PROVIDER/NAME as Inspect AI has it, such as "
    "vllm/Qwen/Qwen3-8B, hf/Qwen/Qwen3-0.6B for one of the hub, or openai-api/SERVICE/NAME; one after the other."
)

COMMANDS = (
    Command("quickstart", QuickstartConfig, _quickstart),
    Command("train", TrainingConfig, _train),
    Command("probe", ProbeConfig, _probe),
    Command("chat", ChatConfig, chat),
    Command("compare", CompareConfig, _compare),
    Command("export", ExportConfig, _export),
    Command("data prepare", PrepareConfig, _data_prepare),
    Command("data check", CheckConfig, _data_check),
    Command("data refine", RefineConfig, _data_refine),
    Command("data mix-refusals", MixRefusalsConfig, _data_mix_refusals),
    Command("data non-instructional", NonInstructionalConfig, _data_non_instructional),
    Command("data single-task", SingleTaskConfig, _data_single_task),
    Command("data roles-and-rules", RolesAndRulesConfig, _data_roles_and_rules),
    _for_each_model("eval probe", ProbeConfig, _probe),
    _for_each_model("eval core", CoreConfig, _eval_core),
    _for_each_model("eval ifeval", IfevalConfig, _eval_ifeval),
    _for_each_model("eval refusals", RefusalsConfig, _eval_refusals),
    _for_each_model("eval alpaca", AlpacaConfig, _eval_alpaca),
    _for_each_model("eval just", JustConfig, _eval_just),
    _for_each_model("eval selective", SelectiveConfig, _eval_selective),
    _for_each_model("eval all", EverythingConfig, _eval_all),
    Command("eval agreement", AgreementConfig, _eval_agreement),
)
"""Every command, in the order of the help."""
