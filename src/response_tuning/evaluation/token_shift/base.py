"""The base model of a run, asked as the run is asked but without what makes the run."""

from dataclasses import dataclass
from pathlib import Path

from response_tuning.conversation import Conversation
from response_tuning.inference.responder import Responder
from response_tuning.models.adapter import adapter_folder, base_of_adapter, recorded_base
from response_tuning.models.load import load_model
from response_tuning.models.spec import parse_spec
from response_tuning.runs.folder import run_of
from response_tuning.runs.in_context.prompt import format_of
from response_tuning.runs.registry import kind_of
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype

__all__ = ["Base", "base_of"]


@dataclass(frozen=True)
class Base:
    """The model that a run was made from."""

    spec: str
    responder: Responder


def base_of(spec: str, run: Responder, *, dtype: Dtype, device: Device) -> Base:
    """The base model of a run, in the run's chat format.

    A run by rules without its rules, an in-context run without preamble and demonstrations, and a trained run with the
    weights that it was trained from. The first two share the run's weights.

    Args:
        spec: the run's.
        run: how it answers.
        dtype: of the weights that are loaded.
        device: where to load them.

    Raises:
        UserError: the model was made from no other one here.
    """
    kind = kind_of(spec)
    match None if kind is None else kind.name:
        case "rules":
            return Base(recorded_base(Path(spec)), Responder(run.loaded, run.conversation))
        case "in_context":
            plain = Conversation(run.loaded.tokenizer, format_of("", []))
            return Base(recorded_base(Path(spec)), Responder(run.loaded, plain))
    base = _trained_from(spec)
    return Base(base, Responder(load_model(base, dtype=dtype, device=device), run.conversation))


def _trained_from(spec: str) -> str:
    adapter = adapter_folder(spec)
    if adapter is not None:
        return base_of_adapter(adapter)
    path = parse_spec(spec).path
    written = {} if path is None else written_options(run_of(path).config)
    if "model" not in written:
        raise UserError(f"{spec} was made from no other model here, so there is none to compare its tokens with.")
    return str(written["model"])
