"""The commands of ``rt eval``: one per registered evaluation, all of them together, and agreement with people."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, create_model

from response_tuning.cli.command import Command, print_result
from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.everything import EverythingConfig, evaluations_in_all, options_in_all
from response_tuning.evaluation.registry import evaluations
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say, warn

__all__ = ["eval_commands"]


def eval_commands() -> tuple[Command, ...]:
    """The commands of the group ``eval``, with the evaluations that are registered now."""
    return (*map(_evaluation_command, evaluations().values()), _EVAL_ALL_COMMAND, _AGREEMENT_COMMAND)


@cache
def _evaluation_command(evaluation: Evaluation[Any, Any]) -> Command:
    return _for_each_model(
        f"eval {evaluation.name}",
        evaluation.config,
        lambda config: _evaluate(evaluation, config),
        instead=evaluation.instead_of_model,
    )


def _evaluate(evaluation: Evaluation[Any, Any], config: BaseModel) -> None:
    result = evaluation.run(config)
    if result is not None:
        print_result(evaluation.table(config, result))
        _name_results(config, evaluation.name)


def _name_results(config: BaseModel, task: str) -> None:
    """Log where the results of one model are."""
    from response_tuning.evaluation.shared.results import results_folder

    folder = results_folder(str(getattr(config, "model", "")), task, getattr(config, "output", None))
    if folder.exists():
        say(f"Results: {folder}")


def _eval_all(config: EverythingConfig) -> None:
    """Every evaluation; those that cannot run are listed at the end, and make it an error."""
    failed: list[str] = []
    for evaluation in evaluations_in_all(config):
        say(f"{config.model}: {evaluation.name}")
        try:
            _evaluate(evaluation, options_in_all(evaluation, config))
        except UserError as error:
            warn(f"{evaluation.name} could not run: {error}")
            failed.append(evaluation.name)
    if failed:
        raise UserError(f"{config.model}: {', '.join(failed)} could not run; the reasons are printed above.")


def _agreement(config: AgreementConfig) -> None:
    from response_tuning.evaluation.agreement.agreement import agreement_table, verdict_agreement

    for result in verdict_agreement(config):
        print_result(agreement_table(result))


def _for_each_model(
    name: str, config: type[BaseModel], run: Callable[[Any], None], *, instead: str | None = None
) -> Command:
    """A command that takes several models, and runs for one after the other; or once with an option instead of them."""

    def run_each(values: Any) -> None:
        stand_in = getattr(values, instead) if instead is not None else None
        if stand_in is not None:
            if values.model:
                raise UserError(f"--{instead} takes the place of a model. Leave out {' '.join(values.model)}.")
            run(config.model_validate({**values.model_dump(), "model": str(stand_in)}))
            return
        if not values.model:
            or_file = f", or a file: rt {name} --{instead} FILE" if instead is not None else ""
            raise UserError(f"Name at least one model: rt {name} RUN [RUN ...]{or_file}")
        named = [option for option in ("output", "plot") if getattr(values, option, None) is not None]
        if len(values.model) > 1 and named:
            raise UserError(f"--{named[0]} is for one model. Leave it out for several models, or name one at a time.")
        each = [config.model_validate({**values.model_dump(), "model": model}) for model in values.model]
        if len(each) == 1:
            run(each[0])
        else:
            _run_all(run, each)

    described = tyro.conf.arg(
        name="models",
        metavar="RUN [RUN ...]",
        help=_MODELS if "base_url" not in config.model_fields else _MODELS_OR_SERVED,
        help_behavior_hint="(one or more)",
    )
    models = Annotated[tuple[str, ...], tyro.conf.Positional, described]
    several = create_model(config.__name__, __base__=config, __doc__=config.__doc__, model=(models, ...))
    return Command(name, several, run_each)


def _run_all(run: Callable[[Any], None], configs: Sequence[Any]) -> None:
    """Run for one model after the other; those that fail are listed at the end, and make it an error."""
    failed: list[str] = []
    for config in configs:
        try:
            run(config)
        except UserError as error:
            warn(f"{config.model}: {error}")
            failed.append(config.model)
    if failed:
        raise UserError(f"{len(failed)} of {len(configs)} models failed, for the reasons above: {', '.join(failed)}")


_MODELS = (
    "Runs, or any other models: 'embedded', folders, .gguf files, hub ids OWNER/NAME[@REVISION]; one after the other."
)
_MODELS_OR_SERVED = (
    "Runs, or any other models: 'embedded', folders, .gguf files, hub ids OWNER/NAME[@REVISION]; or PROVIDER/NAME as "
    "Inspect AI has it, such as vllm/Qwen/Qwen3-8B or openai-api/SERVICE/NAME; one after the other."
)

_EVAL_ALL_COMMAND = _for_each_model("eval all", EverythingConfig, _eval_all)
_AGREEMENT_COMMAND = Command("eval agreement", AgreementConfig, _agreement)
