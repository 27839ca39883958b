"""Continue from an adapter: a training whose adapter begins with the weights of another run's (``rt train --from``).

The base model, the shape of the adapter, the chat format and the prefix are the other run's; the method, the data and
everything else are free. The result is one adapter on the same base model, and not one on top of the other.
"""

from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from torch import nn
from transformers import PreTrainedModel

from response_tuning.models.adapter import adapter_folder, base_of_adapter, base_record
from response_tuning.models.load import load_tokenizer
from response_tuning.models.spec import parse_spec
from response_tuning.runs.formats import resolve_format, trained_prefix, trained_system
from response_tuning.support.configuration import flatten, options_of
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from response_tuning.training.training_config import TrainingConfig

__all__ = ["load_start", "options_of_start", "start_of", "with_start"]

_ADAPTER_OPTIONS = ("tuning", "lora_rank", "lora_alpha")


def start_of(config: TrainingConfig) -> Path | None:
    """The folder of the adapter that a training begins with; None for a new adapter.

    Raises:
        UserError: ``--from`` names no finished run with an adapter.
    """
    if not config.from_run:
        return None
    folder = adapter_folder(config.from_run)
    if folder is None:
        raise UserError(
            f"--from-run {config.from_run} is no finished run with an adapter, and no checkpoint that a run kept. "
            "To train on top of any other model, name it as --model."
        )
    return folder


def options_of_start(config: TrainingConfig) -> dict[str, Any]:
    """The options that follow from the adapter which a training begins with.

    Raises:
        UserError: there is no such adapter, or an option that was given differs from the adapter's.
    """
    folder = start_of(config)
    if folder is None:
        return {}
    settings = read_json(folder / "adapter_config.json")
    tuning = "dora" if settings.get("use_dora") else "rslora" if settings.get("use_rslora") else "lora"
    options: dict[str, Any] = {
        "from_run": str(Path(config.from_run).absolute()),
        "model": base_of_adapter(folder),
        "tuning": "qlora" if base_record(folder).get("four_bit") else tuning,
        "lora_rank": settings["r"],
        "lora_alpha": settings["lora_alpha"],
    }
    given = _not_default(config)
    for name in ("model", *_ADAPTER_OPTIONS):
        if name in given and not _is_same(str(given[name]), str(options[name])):
            raise UserError(
                f"--{name.replace('_', '-')} is {given[name]}, and the adapter of --from-run {config.from_run} has "
                f"{options[name]}. Leave it out."
            )
    tokenizer = load_tokenizer(config.from_run)
    if "format" not in given:
        options["format"] = resolve_format(config.from_run, "auto", tokenizer)
    if "rt_prefix" not in given:
        options["rt_prefix"] = trained_prefix(config.from_run, tokenizer)
    if "system" not in given:
        options["system"] = trained_system(config.from_run, tokenizer)
    return options


def _not_default(config: TrainingConfig) -> dict[str, Any]:
    """The options that differ from their defaults: the command line gives every option a value."""
    return {
        name: value
        for name, value in flatten(config).items()
        if value != options_of(TrainingConfig)[name].field.get_default()
    }


def _is_same(given: str, found: str) -> bool:
    """Whether two values are equal, or two specs name the same model."""
    one, other = parse_spec(given), parse_spec(found)
    if one.path is not None and other.path is not None and one.path.exists() and other.path.exists():
        return one.path.samefile(other.path)
    return given == found or (one.name, one.revision) == (other.name, other.revision)


@torch.no_grad()
def load_start(model: PeftModel, folder: Path | None) -> None:
    """Give a new adapter the weights of the adapter in ``folder``, if there is one.

    Raises:
        UserError: it is on other layers, or of another shape.
    """
    if folder is None:
        return
    weights = load_peft_weights(str(folder), device="cpu")
    expected = {name: tensor.shape for name, tensor in get_peft_model_state_dict(model).items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        raise UserError(
            f"The adapter in {folder} is on other layers than an adapter of this version, or of another shape: it "
            "cannot be continued. Train on top of it instead: name its run as --model."
        )
    set_peft_model_state_dict(model, weights)


def with_start(model: PreTrainedModel, folder: Path | None) -> PreTrainedModel:
    """The model that a training begins with: the base model, with the adapter in ``folder`` if there is one."""
    if folder is None:
        return model
    return cast(PreTrainedModel, _frozen(PeftModel.from_pretrained(model, str(folder))))


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False)
