"""Load any model spec as a run: ``load_run`` for whoever asks it, ``load_responder`` for what needs its model too."""

from pathlib import Path
from typing import Literal

from response_tuning.inference.responder import Responder
from response_tuning.models.spec import require_local, spec_of
from response_tuning.runs.contract import Run
from response_tuning.runs.formats import resolve_format
from response_tuning.runs.local import LocalRun, responder_of
from response_tuning.runs.registry import kind_of
from response_tuning.runs.trained import load_with_conversation
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["load_responder", "load_run", "load_with_conversation", "resolve_format"]


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
        format: the chat format; "auto" as in ``runs.formats.resolve_format``.
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
    return LocalRun(spec, Responder(*load_with_conversation(spec, format, dtype=dtype, device=device)))


def load_responder(
    spec: str,
    format_name: FormatName | Literal["auto"],
    *,
    dtype: Dtype,
    device: Device,
    as_assistant: bool = False,
    purpose: str = "This command",
) -> Responder:
    """Load a run of any kind, or any other model, for what needs its model and not only its answers.

    Args:
        spec: a model spec.
        format_name: the chat format, as ``load_run``.
        dtype: as ``load_run``.
        device: as ``load_run``.
        as_assistant: whether a model that is no run is asked in its own chat template, if it has one.
        purpose: what needs it, for the error.

    Raises:
        UserError: as ``load_run``; or the run has no model in this process.
    """
    require_local(spec)
    if kind_of(spec) is None:
        return Responder(
            *load_with_conversation(spec, format_name, dtype=dtype, device=device, as_assistant=as_assistant)
        )
    return responder_of(load_run(spec, format_name, dtype=dtype, device=device), purpose=purpose)
