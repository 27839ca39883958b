"""Every option of an export, in one place."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.support.options import Device, Dtype

__all__ = ["ExportConfig", "ExportFormat", "GgufType"]

ExportFormat = Literal["safetensors", "gguf"]
"""safetensors for transformers and vLLM, gguf for llama.cpp and Ollama."""
GgufType = Literal["bf16", "f16", "q8_0"]
"""The type of weight matrices in a GGUF file."""


class ExportConfig(BaseModel):
    """Write a finished run as a model that any server loads, and verify that it answers as the run does.

    For example:
        rt export runs/mine --output exports/mine
        rt export runs/mine --output exports/mine --formats safetensors gguf --gguf-type q8_0
        rt export runs/mine --output exports/mine --push-to-hub my-name/my-model
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Annotated[Path, tyro.conf.Positional]
    """A finished run."""
    output: Path
    """The folder to write. An earlier export there is replaced."""
    formats: tuple[ExportFormat, ...] = ("safetensors",)
    """safetensors: for transformers, vLLM and others. gguf: for llama.cpp, and for Ollama, with a Modelfile."""
    gguf_type: GgufType = "bf16"
    """The type of the weights in the GGUF file: bf16 (unchanged), f16, or q8_0 (8 bits, about half the size)."""
    push_to_hub: str | None = None
    """Upload to this repository on the Hugging Face hub, such as my-name/my-model. Requires a token."""
    public: bool = False
    """Make a new repository on the hub public. Defaults to private."""

    base: Literal["original", "dequantized"] = "original"
    """Which weights an adapter of --tuning qlora is merged into: the base model's own, or those rounded to 4 bits."""
    check_prompts: int = Field(default=4, ge=1)
    """The number of instructions whose answers are compared between run and export."""
    check_tokens: int = Field(default=32, ge=1)
    """The longest of these answers, in tokens."""
    dtype: Dtype = "bfloat16"
    """The dtype in which the adapter is merged, and that of the safetensors."""
    device: Device = "auto"
    """The device to compute on."""
