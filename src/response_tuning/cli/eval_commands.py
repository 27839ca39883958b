"""The commands of ``rt eval``, ``rt probe`` and ``rt compare``: call, and print the result."""

from collections.abc import Callable
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, create_model

from response_tuning.cli.command import Command, print_result
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
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

__all__ = ["COMPARE_COMMAND", "EVAL_COMMANDS", "PROBE_COMMAND"]


def _probe(config: ProbeConfig) -> None:
    from response_tuning.evaluation.probe.probe import compare_formats, probe
    from response_tuning.evaluation.shared.table import metrics_table

    if config.formats:
        comparison = compare_formats(config)
        print_result(metrics_table(comparison.metrics))
        print_result(f"{config.model} answers best under --format {comparison.best}")
    elif config.checkpoints:
        from response_tuning.evaluation.probe.checkpoints import probe_checkpoints

        print_result(metrics_table({f"step {point.step}": point.metrics for point in probe_checkpoints(config)}))
    else:
        print_result(metrics_table({config.model: probe(config).metrics}))


def _eval_core(config: CoreConfig) -> None:
    from response_tuning.evaluation.capabilities.capabilities import evaluate_core
    from response_tuning.evaluation.shared.table import metrics_columns

    print_result(metrics_columns({config.model: evaluate_core(config).summary(config.tasks)}))


def _eval_ifeval(config: IfevalConfig) -> None:
    from response_tuning.evaluation.ifeval.ifeval import evaluate_ifeval
    from response_tuning.evaluation.shared.table import metrics_columns

    print_result(metrics_columns({config.model: evaluate_ifeval(config).metrics}))


def _eval_refusals(config: RefusalsConfig) -> None:
    from response_tuning.evaluation.refusals.refusals import evaluate_refusals
    from response_tuning.evaluation.shared.table import refusals_table

    result = evaluate_refusals(config)
    if result is not None:
        print_result(refusals_table(config.model, result))


def _eval_alpaca(config: AlpacaConfig) -> None:
    from response_tuning.evaluation.alpaca.alpaca_eval import evaluate_alpaca
    from response_tuning.evaluation.shared.table import alpaca_table

    result = evaluate_alpaca(config)
    if result is not None:
        print_result(alpaca_table(config.model, config.reference, result))


def _eval_just(config: JustConfig) -> None:
    from response_tuning.evaluation.just.just_eval import evaluate_just
    from response_tuning.evaluation.shared.table import just_table

    result = evaluate_just(config)
    if result is not None:
        print_result(just_table(config.model, result))


def _eval_selective(config: SelectiveConfig) -> None:
    from response_tuning.evaluation.selective.selective import evaluate_selective
    from response_tuning.evaluation.selective.selective_table import selective_table

    result = evaluate_selective(config)
    if result is not None:
        print_result(selective_table(config.model, result))


def _compare(config: CompareConfig) -> None:
    from response_tuning.evaluation.compare.compare import compare
    from response_tuning.evaluation.compare.compare_table import comparison_table

    comparison = compare(config)
    for task in comparison.tasks:
        print_result(comparison_table(comparison, task))
    for task, lacking in comparison.missing.items():
        print_result(f"not compared: {task}, which {' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'}")


def _eval_agreement(config: AgreementConfig) -> None:
    from response_tuning.evaluation.agreement.agreement import agreement_table, verdict_agreement

    for result in verdict_agreement(config):
        print_result(agreement_table(result))


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

PROBE_COMMAND = Command("probe", ProbeConfig, _probe)
COMPARE_COMMAND = Command("compare", CompareConfig, _compare)
EVAL_COMMANDS = (
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
