"""Every option of a training run, in one place: the command line, the YAML file and the validation are made from it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from response_tuning.support.options import (
    EMBEDDED,
    STARTER,
    Device,
    Dtype,
    FormatName,
    LossKernel,
    Method,
    Overlong,
    Prefix,
    Tuning,
)
from response_tuning.training.presets import PresetName, preset_values

__all__ = ["TrainingConfig"]


def _word(value: Any) -> Any:
    """What was meant by a bare ``on`` or ``off``, which YAML takes for a truth value."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class TrainingConfig(BaseModel):
    """Tune a base model on responses alone (rt), or on instruction-response pairs (it).

    For example:
        rt train --method rt --data answers.jsonl --output runs/mine
        rt train --method it --data starter --output runs/twin --learning-rate 2e-4
        rt train --preset paper --model meta-llama/Llama-3.1-8B --data answers.jsonl --output runs/paper
        rt train --data answers.jsonl --output runs/mine --gpus 4
        rt train --config runs/mine/config.yaml --output runs/again --seed 1
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    """The run folder to make, such as runs/mine."""
    method: Method = "rt"
    """rt: responses alone. it: instruction-response pairs."""
    model: str = EMBEDDED
    """The base model: 'embedded', a folder, a .gguf file or a hub id."""
    data: str = STARTER
    """A JSONL file with 'completion' and, for it, 'prompt' in every row; or 'starter'."""

    preset: PresetName = "none"
    """Defaults of a paper: An & Kim 2024 (QLoRA) or Hewitt et al. 2024 (full). Other options come before them."""

    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: tulu, or question-answer for the embedded model. own: the model's own chat template."""
    rt_prefix: Prefix = "none"
    """What stands before the header in rt: none (An & Kim 2024), or an empty user turn (Hewitt et al. 2024)."""
    max_length: int = Field(default=2048, ge=8)
    """The most tokens an example may have."""
    overlong: Overlong = "error"
    """What to do with longer ones: stop with an error, drop them, or truncate their responses."""

    epochs: int = Field(default=3, ge=1)
    """Passes over the data."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per optimizer step."""
    micro_batch_tokens: int = Field(default=1024, ge=1)
    """The most tokens, padding counted, to compute at once. Memory and speed depend on it, the result does not."""
    packing: Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)] = "auto"
    """Put whole examples one behind the other, each for itself, in place of padding. auto: where it is less work."""
    tuning: Tuning = "lora"
    """What is trained: an adapter (lora, rslora, dora, or qlora over 4-bit weights), or every weight (full)."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """The highest learning rate, reached after warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """The share of all steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, on matrices alone."""
    optimizer: Literal["adamw", "paged"] = "adamw"
    """paged: AdamW whose memory can leave the GPU (CUDA with the extra qlora; elsewhere plain, with a note)."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are scaled down to this length."""

    lora_rank: int = Field(default=16, ge=1)
    """The rank of the adapter matrices, on all linear layers but the head."""
    lora_alpha: int = Field(default=32, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""

    gradient_checkpointing: bool = False
    """Compute each layer again in the backward pass instead of keeping it: less memory, a third more time."""
    neftune_alpha: float = Field(default=0.0, ge=0)
    """NEFTune's noise on the embeddings of training batches; 5 is usual, 0 is none."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each target that is spread over the whole vocabulary."""
    loss_kernel: LossKernel = "auto"
    """What computes the loss: tiles of the vocabulary (auto), or the extras liger or cut-cross-entropy on CUDA."""
    sftmix_from: str = ""
    """SFTMix: a finished run on the same data, with adapters kept, that tells which examples are learned easily."""
    sftmix_weight: float = Field(default=0.2, ge=0)
    """What the loss of mixtures of easily and hardly learned examples counts, beside the examples' own."""
    sftmix_alpha: float = Field(default=0.5, gt=0)
    """Their shares in a mixture are drawn from Beta(alpha, alpha): near 0 and 1 below 1, near a half above."""

    held_out: str = ""
    """Examples (as for --data) to measure the loss on after each epoch. The weights of the lowest loss are saved."""
    held_out_every: int = Field(default=0, ge=0)
    """Measure the held-out loss every so many steps instead; 0: after each epoch."""
    keep: Literal["best", "last"] = "best"
    """Which weights to save where --held-out measures them; without it, always the last."""
    patience: int = Field(default=0, ge=0)
    """Stop when the held-out loss has not fallen for so many measurements in a row; 0: never."""

    gpus: int = Field(default=0, ge=0)
    """Train on so many GPUs of this machine, each with a process of its own; 0: on one, if there is any."""
    processes: int = Field(default=1, ge=1)
    """Train in so many processes on the CPU."""
    sharding: Literal["none", "zero2", "zero3"] = "none"
    """Shard weights, gradients and optimizer state over processes; gather weights by step (zero2) or layer (zero3)."""
    offload: Literal["none", "cpu"] = "none"
    """cpu: keep each process's shards in main memory and run the optimizer there. Needs --sharding."""
    nodes: int = Field(default=1, ge=1)
    """Train on so many machines, each with --gpus or --processes: print the command for each of them, and end."""

    checkpoint_every_seconds: float = Field(default=60, ge=0)
    """How often to save what a training goes on from; also saved on Ctrl-C and SIGTERM."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """How many checkpoints to keep until training is done; an earlier one serves where the last is damaged."""
    keep_adapter_every: int = Field(default=0, ge=0)
    """Keep the adapter as it is after every so many steps, for rt probe RUN --checkpoints; 0: only the last one."""
    dtype: Dtype = "bfloat16"
    """The type of frozen weights, of products, and of a model that full saves. Weights train in float32 always."""
    device: Device = "auto"
    """Where to compute."""
    seed: int = 0
    """Decides the adapter's first weights, the order of examples, dropout, noise and mixtures."""
    plan: bool = Field(default=False, exclude=True)
    """Train nothing: show what it would take (memory by part, tokens, steps, time) and whether it fits."""

    @property
    def spreads_weights(self) -> bool:
        """Whether each process keeps a part of every weight."""
        return self.sharding != "none"

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {**preset_values(values.get("preset")), **values}
        return values
