"""The kind of run that answers by rules: a model, and a file of rules that weigh its tokens."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, cast, get_args

from response_tuning.inference.responder import Responder
from response_tuning.models.adapter import base_record, recorded_base
from response_tuning.models.fingerprint import is_of_same_model
from response_tuning.runs.local import LocalRun
from response_tuning.runs.registry import RunKind
from response_tuning.runs.rules.rule_file import read_rules
from response_tuning.runs.rules.weigh import RuleProcessor, resolve_rules
from response_tuning.runs.trained import load_with_conversation
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["RULES", "base_of_rules"]


def _recognises(path: Path) -> bool:
    return (path / "rules.yaml").is_file() and (path / "base_model.json").is_file()


def base_of_rules(path: Path) -> str:
    """The spec of the model that a run by rules answers with.

    Raises:
        UserError: the model changed since the run was made.
    """
    spec = recorded_base(path)
    if not is_of_same_model(base_record(path).get("weights"), spec):
        raise UserError(f"{spec}, which {path} answers with, changed since the run was made. Make it again.")
    return spec


def _format(path: Path, asked: FormatName | Literal["auto"]) -> FormatName | Literal["auto"]:
    """The format that was asked for; for "auto", that of the run's configuration, which names it always.

    Raises:
        UserError: the configuration was edited, and has no such format.
    """
    if asked != "auto":
        return asked
    written = written_options(path / "config.yaml").get("format")
    if written not in get_args(FormatName):
        known = ", ".join(get_args(FormatName))
        raise UserError(f"{path / 'config.yaml'}: option 'format' is {written!r}: it should be one of {known}.")
    return cast(FormatName, written)


def _load(
    spec: str,
    *,
    format: FormatName | Literal["auto"],  # noqa: A002 - the option's name
    dtype: Dtype,
    device: Device,
) -> LocalRun:
    path = Path(spec)
    rules, base = read_rules(path / "rules.yaml"), base_of_rules(path)
    responder = Responder(*load_with_conversation(base, _format(path, format), dtype=dtype, device=device))
    resolved, before_instruction = resolve_rules(rules, responder.conversation), responder.shared_prefix
    return LocalRun(
        spec,
        replace(
            responder,
            processors=lambda prompts: [RuleProcessor(resolved, prompts, before_instruction=before_instruction)],
        ),
    )


RULES = RunKind(name="rules", recognises=_recognises, load=_load)
