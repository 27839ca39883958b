"""The options of ``rt serve``."""

from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["Engine", "ServeConfig"]

Engine = Literal["transformers", "vllm", "llama-cpp"]
"""What generates."""


class ServeConfig(BaseModel):
    """Serve runs by name to any OpenAI client, and in the browser. Runs on one base model share its weights.

    Before it answers anyone, the server answers a few instructions over HTTP and compares them with the runs in this
    process: the same prompt ids and the same greedy tokens, or it does not start.

    For example:
        rt serve embedded runs/quickstart/rt runs/quickstart/it
        rt serve base=embedded rt=runs/quickstart/rt --port 9000
        rt serve runs/mine --engine llama-cpp
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Runs or any other models, as RUN or NAME=RUN. A run without a name is called by the end of its path."""
    host: str = "127.0.0.1"
    """The address to listen on. The default is reached from this machine alone."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port to listen on. 0: a free one."""
    engine: Engine = "transformers"
    """What generates: this process, vLLM (installed separately, on CUDA), or llama.cpp (from a GGUF file)."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one that a run was trained in; question-answer for 'embedded', tulu for others."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The longest response, in tokens, where a request names no limit."""
    batch_size: int = Field(default=16, ge=1)
    """The most prompts of one run that are answered in one batch."""
    check_prompts: int = Field(default=8, ge=1)
    """The number of instructions whose answers are compared between run and server before it starts."""
    check_tokens: int = Field(default=16, ge=1)
    """The longest of these answers, in tokens."""
    show_command: bool = False
    """With --engine vllm: print the command that would be started, and start nothing."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""
