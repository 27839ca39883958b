"""Which chat format a model is asked in, and with which prefix it was trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from response_tuning.chat_template import has_system_role
from response_tuning.conversation import default_format, recognised_format
from response_tuning.runs.folder import run_of
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName, Prefix, SystemPlace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["resolve_format", "trained_prefix", "trained_system"]

_KNOWN = {"format": get_args(FormatName), "rt_prefix": get_args(Prefix), "system": get_args(SystemPlace)}
"""The values of the options of a run that decide how it is asked."""


def resolve_format(
    spec: str,
    format_name: FormatName | Literal["auto"],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    as_assistant: bool = False,
) -> FormatName:
    """The one rule for ``--format``: a format by name; for "auto", the first of these that applies.

    1. A run or a kept checkpoint: the format that it was trained in.
    2. An export or an adapter's folder: the format that the chat template saved there is marked with.
    3. A model that works for us as an assistant, a judge or a refiner: its own chat template, if it has one.
    4. Any other model is measured, asked and trained as a base model: question-answer for the embedded model, else
       tulu. Not its own template: many base models carry one that they were never trained in, and a base model has to
       be compared with the runs made from it.

    Args:
        spec: the model's spec.
        format_name: the value of ``--format``.
        tokenizer: the model's.
        as_assistant: whether the third rule applies.

    Raises:
        UserError: the run's configuration cannot be read.
    """
    if format_name != "auto":
        return format_name
    trained = _trained_options(spec)
    if "format" in trained:  # resolved when the run was made, so never "auto"
        return cast(FormatName, trained["format"])
    recognised = recognised_format(tokenizer.chat_template)
    if recognised is not None:
        return recognised[0]
    if as_assistant and isinstance(tokenizer.chat_template, str):
        return "own"
    return default_format(spec)


def trained_prefix(spec: str, tokenizer: "PreTrainedTokenizerBase") -> Prefix:
    """The prefix of responses that a model was trained with: of its configuration, or of its chat template's mark."""
    options = _trained_options(spec)
    if "rt_prefix" in options:
        return cast(Prefix, options["rt_prefix"])
    recognised = recognised_format(tokenizer.chat_template)
    return "none" if recognised is None else recognised[1]


def trained_system(spec: str, tokenizer: "PreTrainedTokenizerBase") -> SystemPlace:
    """Where a model was trained to find a system message: by its configuration, or its chat template's mark."""
    options = _trained_options(spec)
    if "system" in options:
        return cast(SystemPlace, options["system"])
    return "role" if has_system_role(tokenizer.chat_template) else "user"


def _trained_options(spec: str) -> dict[str, Any]:
    """The options of a run's configuration that decide how it is asked; empty for other models.

    Raises:
        UserError: ``config.yaml`` is not valid YAML, or its format or prefix is unknown.
    """
    path = run_of(Path(spec)).config
    values = written_options(path)
    for name, known in _KNOWN.items():
        if name in values and values[name] not in known:
            raise UserError(f"{path}: option {name!r} is {values[name]!r}: it should be one of {', '.join(known)}.")
    return values
