"""Settings of other trainers as options of ``rt train``: what maps, what does not, and why.

Axolotl's YAML files (their reference of options, version 0.12) and those of LLaMA-Factory (its training arguments,
version 0.9). Nothing is guessed: a setting that changes the result and has no option here is listed, not dropped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from response_tuning.support.errors import UserError

__all__ = ["ImportedSettings", "Tool", "read_settings"]

Tool = Literal["axolotl", "llama-factory"]


@dataclass
class ImportedSettings:
    """The settings of a file."""

    options: dict[str, Any] = field(default_factory=dict)
    """Options of ``rt train`` by their names."""
    mapped: dict[str, str] = field(default_factory=dict)
    """Each setting that an option takes, with the option as it is typed."""
    unmapped: dict[str, str] = field(default_factory=dict)
    """Each setting that none takes, with the reason."""
    without_effect: list[str] = field(default_factory=list)
    """Settings that change no result, or that are decided by themselves here."""

    def take(self, setting: str, option: str, value: Any) -> None:
        """Set an option."""
        self.options[option] = value
        self.mapped[setting] = f"--{option.replace('_', '-')}" + ("" if value is True else f" {value}")


_Rule = Callable[[ImportedSettings, str, Any, Mapping[str, Any]], None]


def read_settings(path: Path, tool: Tool) -> ImportedSettings:
    """The options of ``rt train`` that a file of another trainer sets.

    Raises:
        UserError: the file cannot be read, or is not a mapping.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(given, dict):
        raise UserError(f"{path} is no mapping of settings to values.")
    settings = ImportedSettings()
    rules = _AXOLOTL if tool == "axolotl" else _LLAMA_FACTORY
    for name, value in given.items():
        if value is None or value == "":
            continue
        rule = rules.get(str(name))
        if rule is None:
            settings.unmapped[str(name)] = "no option here has this meaning"
        else:
            rule(settings, str(name), value, given)
    return settings


def _as(option: str, kind: type[Any] = str) -> _Rule:
    """The setting has the meaning of an option."""

    def rule(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
        try:
            converted = kind(value)
        except (TypeError, ValueError):
            settings.unmapped[name] = f"{value!r} is no {kind.__name__}"
            return
        if kind is int and converted != float(value):
            settings.unmapped[name] = f"--{option.replace('_', '-')} takes whole numbers, and this is {value}"
        else:
            settings.take(name, option, converted)

    return rule


def _choice(option: str, words: Mapping[str, Any], why: str) -> _Rule:
    """One of several words; any other has no counterpart."""

    def rule(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
        word = str(value).lower()
        if word in words:
            settings.take(name, option, words[word])
        else:
            settings.unmapped[name] = f"{value}: {why}"

    return rule


def _only(expected: Any, why: str) -> _Rule:
    """Every training here is so; another value has no counterpart."""

    def rule(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
        if value == expected:
            settings.without_effect.append(name)
        else:
            settings.unmapped[name] = f"{value}: {why}"

    return rule


def _nothing(settings: ImportedSettings, name: str, _value: Any, _given: Mapping[str, Any]) -> None:
    settings.without_effect.append(name)


def _never(why: str) -> _Rule:
    def rule(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
        if value not in (False, 0, [], {}):
            settings.unmapped[name] = why

    return rule


def _flag(option: str, on: Any, off: Any) -> _Rule:
    def rule(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
        chosen = on if value else off
        if chosen is False:  # as it is without the option
            settings.without_effect.append(name)
        else:
            settings.take(name, option, chosen)

    return rule


def _batch(micro: str, accumulation: str) -> _Rule:
    """Two settings are one option here: examples per optimizer step. Memory is decided by ``--micro-batch-tokens``."""

    def rule(settings: ImportedSettings, name: str, _value: Any, given: Mapping[str, Any]) -> None:
        parts = [given.get(part) or 1 for part in (micro, accumulation)]
        if not all(isinstance(part, int) for part in parts):
            settings.unmapped[name] = "the size of a batch is left to the launcher: name it, --batch-size N"
            return
        size = parts[0] * parts[1]
        settings.take(name, "batch_size", size)
        settings.mapped[name] += " (times the number of GPUs, if there were several)"

    return rule


def _datasets(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
    """Axolotl's list of data sets: one can be named here."""
    sets = [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
    if len(sets) != 1 or not sets[0].get("path"):
        settings.unmapped[name] = "one data set can be named: join them first, for example with cat of prepared files"
        return
    settings.take(name, "data", _data(str(sets[0]["path"]), sets[0].get("ds_type")))
    renamed = sorted({key for key in sets[0] if key.startswith(("field_", "message_"))})
    if renamed:
        settings.unmapped[f"{name}: {', '.join(renamed)}"] = "rt data prepare has --completion-field and the like"
    if sets[0].get("type") == "completion":
        settings.unmapped[f"{name}: type completion"] = "no header precedes the text there; here one does"


def _named_set(settings: ImportedSettings, name: str, value: Any, _given: Mapping[str, Any]) -> None:
    """LLaMA-Factory's names, which its ``dataset_info.json`` explains."""
    if isinstance(value, str) and Path(value).exists():
        settings.take(name, "data", value)
    else:
        settings.unmapped[name] = f"{value}: a name in dataset_info.json; give its file, --data FILE"


def _data(path: str, kind: object) -> str:
    """A local path as it is, an id of the hub with its prefix."""
    is_hub_id = path.count("/") == 1 and not kind and not Path(path).exists() and not path.startswith((".", "/"))
    return f"hub:{path}" if is_hub_id else path


def _adapter(settings: ImportedSettings, name: str, value: Any, given: Mapping[str, Any]) -> None:
    """The adapter's kind, which axolotl sets in several places."""
    kinds = {"lora": "lora", "qlora": "qlora"}
    kind = kinds.get(str(value).lower())
    if kind is None:
        settings.unmapped[name] = f"{value}: there are lora, rslora, dora, qlora and full"
        return
    for setting, other in (("peft_use_rslora", "rslora"), ("peft_use_dora", "dora")):
        if given.get(setting):
            kind = other if kind == "lora" else kind
    settings.take(name, "tuning", kind)


_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant"}
_OPTIMIZERS = {
    **dict.fromkeys(("adamw_torch", "adamw_torch_fused", "adamw_hf"), "adamw"),
    **dict.fromkeys(("paged_adamw_32bit", "paged_adamw"), "paged"),
}
_LOSSES = {"dpo": "dpo", "ipo": "ipo", "simpo": "simpo", "orpo": "orpo", "kto": "kto"}
_FORMATS = {"chatml": "chatml", "alpaca": "alpaca", "tokenizer_default": "own"}
_DTYPES = {"true": "bfloat16", "false": "float32", "auto": "auto"}
_STEPS = _never("a number of steps; here it is --warmup-share, a fraction of all steps")
_HELD_OUT = _never("a part of the data; here held-out examples are a file of their own, --held-out FILE")
_SPECIAL = _never("no token is added here, and no embedding is resized")
_PART = _never("an adapter has every linear layer but the head here")

_AXOLOTL: dict[str, _Rule] = {
    "base_model": _as("model"),
    "datasets": _datasets,
    "output_dir": _as("output"),
    "sequence_len": _as("max_length", int),
    "sample_packing": _flag("packing", "on", "off"),
    "micro_batch_size": _batch("micro_batch_size", "gradient_accumulation_steps"),
    "gradient_accumulation_steps": _batch("micro_batch_size", "gradient_accumulation_steps"),
    "num_epochs": _as("epochs", int),
    "learning_rate": _as("learning_rate", float),
    "lr_scheduler": _choice("schedule", _SCHEDULES, "there are cosine, linear and constant"),
    "warmup_ratio": _as("warmup_share", float),
    "warmup_steps": _STEPS,
    "weight_decay": _as("weight_decay", float),
    "optimizer": _choice("optimizer", _OPTIMIZERS, "there are adamw, and paged AdamW"),
    "max_grad_norm": _as("max_gradient_norm", float),
    "adapter": _adapter,
    "peft_use_dora": _nothing,
    "peft_use_rslora": _nothing,
    "lora_r": _as("lora_rank", int),
    "lora_alpha": _as("lora_alpha", int),
    "lora_dropout": _as("lora_dropout", float),
    "lora_target_linear": _only(True, "an adapter has every linear layer but the head here"),
    "lora_target_modules": _PART,
    "lora_modules_to_save": _SPECIAL,
    "gradient_checkpointing": _flag("gradient_checkpointing", True, False),
    "bf16": _choice("dtype", _DTYPES, "there are bfloat16 and float32"),
    "fp16": _never("half precision: there are bfloat16 and float32"),
    "seed": _as("seed", int),
    "train_on_inputs": _only(False, "the loss is computed on responses alone"),
    "neftune_noise_alpha": _as("neftune_alpha", float),
    "label_smoothing_factor": _as("label_smoothing", float),
    "chat_template": _choice("format", _FORMATS, "there are tulu, chatml, alpaca, and own for the model's template"),
    "rl": _choice("preference_loss", _LOSSES, "there are dpo, ipo, simpo, orpo and kto"),
    "rl_beta": _as("beta", float),
    "val_set_size": _HELD_OUT,
    "early_stopping_patience": _as("patience", int),
    "special_tokens": _SPECIAL,
    "tokens": _SPECIAL,
    "max_steps": _never("the length of a training is --epochs here"),
    **dict.fromkeys(
        (
            *("load_in_4bit", "load_in_8bit", "tf32", "flash_attention", "sdp_attention", "group_by_length", "strict"),
            *(
                "model_type",
                "tokenizer_type",
                "dataset_prepared_path",
                "logging_steps",
                "saves_per_epoch",
                "save_steps",
            ),
            *(
                "pad_to_sequence_len",
                "eval_sample_packing",
                "evals_per_epoch",
                "save_total_limit",
                "xformers_attention",
            ),
            *("wandb_project", "wandb_entity", "wandb_name", "wandb_watch", "wandb_log_model", "debug", "local_rank"),
        ),
        _nothing,
    ),
}

_LLAMA_FACTORY: dict[str, _Rule] = {
    "model_name_or_path": _as("model"),
    "dataset": _named_set,
    "output_dir": _as("output"),
    "cutoff_len": _as("max_length", int),
    "packing": _flag("packing", "on", "off"),
    "neat_packing": _flag("packing", "on", "off"),
    "per_device_train_batch_size": _batch("per_device_train_batch_size", "gradient_accumulation_steps"),
    "gradient_accumulation_steps": _batch("per_device_train_batch_size", "gradient_accumulation_steps"),
    "num_train_epochs": _as("epochs", int),
    "learning_rate": _as("learning_rate", float),
    "lr_scheduler_type": _choice("schedule", _SCHEDULES, "there are cosine, linear and constant"),
    "warmup_ratio": _as("warmup_share", float),
    "warmup_steps": _STEPS,
    "weight_decay": _as("weight_decay", float),
    "optim": _choice("optimizer", _OPTIMIZERS, "there are adamw, and paged AdamW"),
    "max_grad_norm": _as("max_gradient_norm", float),
    "finetuning_type": _choice("tuning", {"lora": "lora", "full": "full"}, "there are lora and full"),
    "use_dora": _never("write --tuning dora"),
    "use_rslora": _never("write --tuning rslora"),
    "quantization_bit": _choice("tuning", {"4": "qlora"}, "4 bits are qlora here"),
    "lora_rank": _as("lora_rank", int),
    "lora_alpha": _as("lora_alpha", int),
    "lora_dropout": _as("lora_dropout", float),
    "lora_target": _only("all", "an adapter has every linear layer but the head here"),
    "bf16": _choice("dtype", _DTYPES, "there are bfloat16 and float32"),
    "fp16": _never("half precision: there are bfloat16 and float32"),
    "seed": _as("seed", int),
    "train_on_prompt": _only(False, "the loss is computed on responses alone"),
    "neftune_noise_alpha": _as("neftune_alpha", float),
    "template": _choice("format", {"alpaca": "alpaca", "default": "auto"}, "use --format own for the model's template"),
    "stage": _choice("preference_loss", {"sft": "none", "kto": "kto", "dpo": "dpo"}, "there are sft, dpo and kto"),
    "pref_loss": _choice("preference_loss", {"sigmoid": "dpo", **_LOSSES}, "there are dpo, ipo, simpo, orpo and kto"),
    "pref_beta": _as("beta", float),
    "max_samples": _never("draw them before, with rt data prepare --max-examples"),
    "val_size": _HELD_OUT,
    "add_tokens": _SPECIAL,
    "max_steps": _never("the length of a training is --epochs here"),
    **dict.fromkeys(
        (
            *("do_train", "trust_remote_code", "dataset_dir", "overwrite_cache", "preprocessing_num_workers"),
            *(
                "dataloader_num_workers",
                "logging_steps",
                "save_steps",
                "plot_loss",
                "overwrite_output_dir",
                "report_to",
            ),
            *("save_only_model", "ddp_timeout", "flash_attn", "resume_from_checkpoint", "deepspeed", "eval_strategy"),
            *("eval_steps", "per_device_eval_batch_size", "quantization_method", "report_to", "tf32"),
        ),
        _nothing,
    ),
}
