"""Load any model spec as a run: ``load_run`` for whoever asks it, ``load_with_conversation`` for its weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from response_tuning.chat_template import has_system_role
from response_tuning.conversation import Conversation, default_format, recognised_format
from response_tuning.models.load import LoadedModel, load_model
from response_tuning.models.spec import require_local, spec_of
from response_tuning.runs.contract import Run
from response_tuning.runs.folder import run_of
from response_tuning.runs.registry import kind_of
from response_tuning.runs.trained import TrainedRun
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName, Prefix, SystemPlace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["load_run", "load_with_conversation", "resolve_format"]

_KNOWN = {"format": get_args(FormatName), "rt_prefix": get_args(Prefix), "system": get_args(SystemPlace)}
"""The values of the options of a run that decide how it is asked."""


def load_run(
    spec: str | Path,
    format: FormatName | Literal["auto"] = "auto",  # noqa: A002 - the option's name
    dtype: Dtype = "auto",
    device: Device = "auto",
) -> Run:
    """Load a run, one of its kept checkpoints, or any other model in this process; a base model is a run as well.

        run = load_run("runs/quickstart/rt")
        print(run.generate(["Why is the sky blue?"])[0].text)

    Args:
        spec: a model spec (``models.spec``), of any kind but a provider's, or the path of a run or model.
        format: the chat format; "auto" as in ``resolve_format``.
        dtype: of the weights; "auto" is whichever the device multiplies faster in.
        device: where to compute.

    Raises:
        UserError: there is no such model, or training has not finished.
    """
    spec = spec_of(spec)
    require_local(spec)
    kind = kind_of(spec)
    if kind is not None:
        return kind.load(spec, format=format, dtype=dtype, device=device)
    return TrainedRun(spec, *load_with_conversation(spec, format, dtype=dtype, device=device))


def load_with_conversation(
    spec: str,
    format_name: FormatName | Literal["auto"],
    *,
    dtype: Dtype,
    device: Device,
    as_assistant: bool = False,
    dequantized: bool = False,
) -> tuple[LoadedModel, Conversation]:
    """Load any model spec for inference, with its chat format (``resolve_format``); ``dequantized`` as ``load_model``.

    Raises:
        UserError: there is no such model.
    """
    loaded = load_model(spec, dtype=dtype, device=device, dequantized=dequantized)
    chosen = resolve_format(spec, format_name, loaded.tokenizer, as_assistant=as_assistant)
    return loaded, Conversation(
        loaded.tokenizer,
        chosen,
        rt_prefix=_trained_prefix(spec, loaded.tokenizer),
        system=_trained_system(spec, loaded.tokenizer) if format_name == "auto" else "user",
    )


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


def _trained_prefix(spec: str, tokenizer: "PreTrainedTokenizerBase") -> Prefix:
    """The prefix of responses that a model was trained with: of its configuration, or of its chat template's mark."""
    options = _trained_options(spec)
    if "rt_prefix" in options:
        return cast(Prefix, options["rt_prefix"])
    recognised = recognised_format(tokenizer.chat_template)
    return "none" if recognised is None else recognised[1]


def _trained_system(spec: str, tokenizer: "PreTrainedTokenizerBase") -> SystemPlace:
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
