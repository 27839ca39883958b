"""The options of ``rt eval core``."""

from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["CORE_TASKS", "CoreConfig", "CoreTask"]

CoreTask = Literal["mmlu", "openbookqa", "hellaswag", "arc_easy", "arc_challenge", "piqa", "gsm8k", "gsm8k_cot_llama"]
"""A core capability, by the evaluation harness's name."""
CORE_TASKS: tuple[CoreTask, ...] = tuple(task for task in get_args(CoreTask) if task != "gsm8k_cot_llama")
"""Those that run by default: one form of GSM8K is enough."""


class CoreConfig(BaseModel):
    """Measure core capabilities with the lm-evaluation-harness: its tasks and metrics, in the model's chat format.

    MMLU, OpenBookQA, HellaSwag, ARC and PIQA are zero-shot; GSM8K has eight examples as earlier turns. Also reported:
    both ARC sets together, and the mean of the six capabilities.

    For example:
        rt eval core runs/mine
        rt eval core runs/mine --tasks piqa gsm8k --max-examples 100 --data-dir data
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file or a hub id."""
    tasks: tuple[CoreTask, ...] = CORE_TASKS
    """The tasks to run. gsm8k_cot_llama, the form of An & Kim 2025, has eight fixed examples with reasoning."""
    data_dir: Path | None = None
    """A folder with the published files, to download nothing: arc/ARC-Easy-Test*.jsonl, gsm8k/train*.jsonl and
    test*.jsonl, hellaswag/hellaswag_val*.jsonl, mmlu/mmlu_test*.jsonl, openbookqa/test*.jsonl, piqa/valid*.jsonl.
    Defaults to the Hugging Face hub."""
    output: Path | None = None
    """The results folder. Defaults to evaluations/core in the run; for other models, in runs/base-NAME."""

    max_examples: int | None = Field(default=None, ge=1)
    """Use only this many examples of each task, the first ones; of MMLU's subjects the same number, at least one."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one a run was trained with; tulu, or question-answer for the embedded model."""
    batch_size: int = Field(default=4, ge=1)
    """Prompts per batch. Memory grows with it and with the vocabulary."""

    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
