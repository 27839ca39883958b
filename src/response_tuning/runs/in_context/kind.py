"""The kind of run that answers after demonstrations: a model, and a prompt that shows it how."""

from pathlib import Path
from typing import Literal

from response_tuning.conversation import Conversation
from response_tuning.inference.responder import Responder
from response_tuning.inference.stops import StopRule
from response_tuning.models.load import load_model
from response_tuning.runs.in_context.folder import InContextFolder
from response_tuning.runs.in_context.prompt import format_of
from response_tuning.runs.local import LocalRun
from response_tuning.runs.registry import RunKind
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["IN_CONTEXT"]


def _load(
    spec: str,
    *,
    format: FormatName | Literal["auto"],  # noqa: A002 - the option's name
    dtype: Dtype,
    device: Device,
) -> LocalRun:
    if format != "auto":
        raise UserError(
            f"{spec} is an in-context run, whose prompt is its own format. Leave out --format and --formats."
        )
    folder = InContextFolder(Path(spec))
    chat_format = format_of(*folder.read())
    loaded = load_model(folder.base(), dtype=dtype, device=device)
    return LocalRun(spec, Responder(loaded, Conversation(loaded.tokenizer, chat_format), stops=StopRule()))


IN_CONTEXT = RunKind(
    "in_context",
    recognises=lambda path: InContextFolder(path).is_in_context,
    load=_load,
    why_not_exported=(
        "Its model is unchanged, and no file of a model can say that a response ends at a fence or at a heading. "
        "Export a trained run, or ask this one here."
    ),
)
"""``rt in-context``: a run that answers after a preamble and demonstrations."""
