"""The values that options take, importable without loading a model library."""

from typing import Literal

__all__ = [
    "EMBEDDED",
    "EMBEDDED_INSTRUCT",
    "STARTER",
    "Attention",
    "Device",
    "Dtype",
    "FormatName",
    "LossKernel",
    "Method",
    "Overlong",
    "PreferenceLoss",
    "Prefix",
    "RtKeeps",
    "SystemPlace",
    "Tuning",
]

EMBEDDED = "embedded"
"""The spec of the base model that comes as a Python package."""
EMBEDDED_INSTRUCT = "embedded-instruct"
"""The spec of the small instruction-tuned model that comes as a Python package, for refining and judging."""
STARTER = "starter"
"""The data spec of the training pairs that come with this program."""

Method = Literal["rt", "it", "mixed"]
"""Response tuning (no instruction before the response), instruction tuning, or each row by what it has: a row with a
prompt as in instruction tuning, a row without one as in response tuning."""
Prefix = Literal["none", "empty_user"]
"""The prefix before the assistant header in response tuning."""
SystemPlace = Literal["user", "role"]
"""Where a system message goes: at the head of the user's first turn, or into a turn of its own with the role system."""
RtKeeps = Literal["nothing", "system"]
"""What response tuning keeps before the header: nothing, or the system text of rows that have one."""
FormatName = Literal["tulu", "chatml", "question-answer", "alpaca", "ab", "own"]
"""A chat format by name, or ``own``: the chat template that the model brings."""
Overlong = Literal["error", "drop", "truncate"]
"""What to do with an example longer than the maximum length."""
Tuning = Literal["lora", "rslora", "dora", "qlora", "full"]
"""What is trained: an adapter of some kind, or every weight."""
Device = Literal["auto", "cpu", "cuda", "mps"]
Dtype = Literal["auto", "bfloat16", "float32"]
"""auto: whichever the device multiplies faster in (``models.dtype``); a configuration that is in use names one."""
LossKernel = Literal["auto", "tiles", "liger", "cut-cross-entropy"]
"""How the loss over the vocabulary is computed: in tiles, or by a library's CUDA kernels. auto: tiles."""
Attention = Literal["auto", "varlen", "flash", "flex", "sdpa"]
"""What computes attention: torch's FlashAttention by bounds, the flash-attn package, FlexAttention, or SDPA. auto:
within each example, by matmuls on a CPU and by varlen on a CUDA GPU, where the model allows it."""
PreferenceLoss = Literal["dpo", "dpo-norm", "ipo", "simpo", "orpo", "kto"]
"""The losses of preference tuning (``training.objectives.preference.losses``)."""
