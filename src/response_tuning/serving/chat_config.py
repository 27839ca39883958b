"""The options of ``rt chat``."""

from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["ChatConfig"]


class ChatConfig(BaseModel):
    """Chat with a run, with any other model, or with several side by side.

    Each question is answered on its own, as in training, unless --turns keeps the dialogue. In the terminal, /help
    lists what else can be typed; lines that are piped in are questions, all of them.

    For example:
        rt chat runs/quickstart/rt
        rt chat embedded runs/quickstart/rt runs/quickstart/it
        echo "What is rain?" | rt chat runs/quickstart/rt
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs or any other models, as RUN or NAME=RUN: 'embedded', a folder, a .gguf file, or a hub id."""
    turns: bool = False
    """Keep the dialogue: each run sees the earlier questions and its own answers."""
    system: str = ""
    """A system prompt. It is put in front of the first question, as in the training data."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one that a run was trained in; question-answer for 'embedded', tulu for others."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The longest response, in tokens."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
