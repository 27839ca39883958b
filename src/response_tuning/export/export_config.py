"""Every option of an export, in one place."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.support.options import Device, Dtype

__all__ = ["ExportConfig", "ExportFormat", "GgufType"]

ExportFormat = Literal["safetensors", "gguf"]
"""What servers read: transformers and vLLM the first, llama.cpp and Ollama the second."""
GgufType = Literal["bf16", "f16", "q8_0"]
"""How a GGUF file holds the weights of matrices."""


class ExportConfig(BaseModel):
    """Make a finished run into a model that any server loads, and prove that it answers as the run does.

    For example:
        rt export runs/mine --output exports/mine
        rt export runs/mine --output exports/mine --formats safetensors gguf --gguf-type q8_0
        rt export runs/mine --output exports/mine --push-to-hub my-name/my-model
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run."""
    output: Path
    """The folder to make. An earlier export that stands there is replaced."""
    formats: tuple[ExportFormat, ...] = ("safetensors",)
    """safetensors: for transformers, vLLM and others. gguf: for llama.cpp, and for Ollama, with a Modelfile."""
    gguf_type: GgufType = "bf16"
    """The weights in the GGUF file: as they are (bf16), f16, or eight bits (q8_0), about half the size."""
    push_to_hub: str | None = None
    """Upload to this repository on the Hugging Face hub, such as my-name/my-model. Needs a token."""
    public: bool = False
    """Make a new repository on the hub public. Otherwise it is private."""

    check_prompts: int = Field(default=4, ge=1)
    """How many instructions the run and the export have to answer alike."""
    check_tokens: int = Field(default=32, ge=1)
    """The longest of those answers, in tokens."""
    dtype: Dtype = "bfloat16"
    """The type that the adapter is merged in, and the type of the safetensors."""
    device: Device = "auto"
    """Where to compute."""
