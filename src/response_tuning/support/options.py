"""The words that options take, where the command line can have them without loading a model library."""

from typing import Literal

__all__ = [
    "EMBEDDED",
    "EMBEDDED_INSTRUCT",
    "STARTER",
    "Device",
    "Dtype",
    "FormatName",
    "LossKernel",
    "Method",
    "Overlong",
    "Prefix",
    "Tuning",
]

EMBEDDED = "embedded"
"""The model spec of the base model that comes as a Python package."""
EMBEDDED_INSTRUCT = "embedded-instruct"
"""The model spec of the small instruction-tuned model that comes as a Python package, for refining and judging."""
STARTER = "starter"
"""The data spec of the training pairs that come with this program."""

Method = Literal["rt", "it"]
"""Response tuning (no instruction before the response) or instruction tuning."""
Prefix = Literal["none", "empty_user"]
"""What stands before the assistant header in response tuning."""
FormatName = Literal["tulu", "chatml", "question-answer", "alpaca", "own"]
"""A chat format by name, or ``own``: the chat template that the model brings."""
Overlong = Literal["error", "drop", "truncate"]
"""What to do with an example longer than the maximum length."""
Tuning = Literal["lora", "rslora", "dora", "qlora", "full"]
"""What training changes: an adapter of one kind or another, or every weight."""
Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["bfloat16", "float32"]
LossKernel = Literal["auto", "tiles", "liger", "cut-cross-entropy"]
"""What computes the loss over the vocabulary: tiles of it here, or a library's kernels for CUDA. auto: tiles."""
